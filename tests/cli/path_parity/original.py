"""The places that Python computes, in the words of the original. Reads the cases on standard input, fills in the answers."""

import errno, hashlib, json, os, pathlib, re, sys, tempfile

table, root = json.load(sys.stdin), sys.argv[1]
for case in table["temp_folders"]:
    os.chdir(case["cwd"])
    for name in ("TMPDIR", "TEMP", "TMP"):
        os.environ.pop(name, None)
        if case[name] is not None:
            os.environ[name] = case[name]
    tempfile.tempdir = None  # asked anew
    case["gives"] = os.path.abspath(tempfile.gettempdir())  # "." alone it leaves as it is; the folder is the same
for case in table["workspaces"]:
    os.chdir(case["cwd"])
    path = pathlib.Path.cwd() if case["given"] is None else pathlib.Path(case["given"])
    try:
        resolved = path.resolve()
        resolved.stat()
    except (RuntimeError, OSError) as error:  # a circle: RuntimeError up to 3.12, then what the system says
        if isinstance(error, RuntimeError) or error.errno == errno.ELOOP:
            case.update(resolved=None, name=None, md5=None)
            continue
    text = str(resolved)
    case["resolved"] = text
    case["name"] = re.sub(r"[^A-Za-z0-9._-]+", "_", resolved.name).strip("_") or "workspace"
    # a digest of the sandbox's path would be another one in every run
    case["md5"] = None if root in text else hashlib.md5(text.encode("utf-8")).hexdigest()
json.dump(table, sys.stdout)
