#!/usr/bin/env python3
"""Runs invoke-persist for {backend}, in the place of a script that had this name."""
import os, shutil, subprocess, sys

program = shutil.which("invoke-persist")
if program is None:
    print("error: invoke-persist is not on PATH\nhint: install it where a login shell finds it", file=sys.stderr)
    sys.exit(127)
command = [program, "--backend", "{backend}", *sys.argv[1:]]
if os.name == "nt":  # there execv returns to the caller before the program ends
    sys.exit(subprocess.call(command))
os.execv(program, command)
