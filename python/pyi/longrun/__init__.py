"""Sessions: loops that go on where they stopped, whatever stopped them."""
