"""How volumes shall be read and learned: rules over what they are like, without files and torch."""
