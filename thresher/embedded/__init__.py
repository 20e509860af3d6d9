"""The servers `thresher up` brings along, PostgreSQL and NATS, and the supervisor that starts, watches and stops them and the services.

Nothing here knows what the services do; `thresher.stack` puts the parts together.
"""
