"""What the three services share: models of payloads, scenes and messages, the graph engine, storage, messaging, configuration.

Nothing here imports a service.
"""
