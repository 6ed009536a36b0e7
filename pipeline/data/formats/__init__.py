"""Volume files of every format, checked before memory is taken, as one kind of `Volume`."""
