"""Starlette routes (photos, masks, assets, HTTP API) and the server's lifespan."""
