"""Servers compared: under the journeys of many users, and by what one request costs them."""
