"""The service people talk to: HTTP API, external catalogues, inventory, cube of records and layers, workflow and its dispatcher."""
