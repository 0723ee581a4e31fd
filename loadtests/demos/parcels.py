"""What the shops answer where they read nothing from the store, and how long that takes."""

DELIVERY = 0.05  # seconds that the carrier takes to answer
EVENTS = tuple(b"id: %d\ndata: parcel %d of 5\n\n" % (number, number) for number in range(1, 6))
EVENT_PAUSE = 0.02  # seconds between two of them
CATALOGUE = bytes(range(256)) * 1024
