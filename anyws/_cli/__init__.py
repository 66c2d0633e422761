"""The command line, `python -m anyws`: a module for each command, and what they share.

It is imported by nothing but `__main__`, and uses what is public of the package, as any program
would. What not everybody has installed is imported where it is used.
"""
