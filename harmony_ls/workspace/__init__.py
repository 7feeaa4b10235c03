"""The files of a person, behind one port and one gate: nothing else in harmony-ls reads or changes them for a model.

`port` says what a workspace can do, `gate` which paths are let through, `disk` does it on a disk.
"""
