"""The files of a person, behind one port and one gate: nothing else in harmony-ls reads or changes them for a model.

`port` says what a workspace can do, `gate` and `protected` which paths are let through, `disk` does it on a disk:
`transaction` verifies a change set, `carry_out` makes it, `leftovers` clears away what a crash leaves of one.
"""
