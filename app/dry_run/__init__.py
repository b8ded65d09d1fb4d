"""Dry runs: `?dryRun=true` answers what a command of an order would do, and writes nothing.

The command runs with the same functions as always, but on a store that stops it at its write. The steps that
the write would set in motion are then done in memory, by the functions of the workers.
"""
