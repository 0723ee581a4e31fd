from pyserver._channel import Carried

class CarriedStream(Carried):
    """One request and its response."""
