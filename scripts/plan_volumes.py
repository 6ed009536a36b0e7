#!/usr/bin/env python
"""The verb `volclass plan` as a script; `-h` shows its options and an example."""

from pipeline.cli import main

if __name__ == "__main__":
    main("plan")
