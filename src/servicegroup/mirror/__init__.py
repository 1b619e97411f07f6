"""An OpenStack as it runs, in a register: its own APIs listed every few seconds, read only.

It is an agent of the register that speaks for each service that those APIs list. It imports no
part of the register: it reports over HTTP as agents do.
"""
