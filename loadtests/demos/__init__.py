"""The same small shop in Flask, in Django and in FastAPI, for the load tests."""
