#!/usr/bin/env python
"""The verb `volclass train` for 2D networks over slices; `-h` shows its options and an example."""

from pipeline.cli import main

if __name__ == "__main__":
    main("train")
