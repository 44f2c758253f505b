"""The runtime: a camera frame in, a label, a heatmap and a box out, with nothing but numpy and a TFLite interpreter.

Read `pipeline.py` first: it holds the whole method. Start it with `python3 runtime/janken.py --help`.
Importing the package loads only the standard library, so that `python3 -m runtime doctor` can run on a bare machine.
"""
