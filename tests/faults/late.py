"""A burst of new files, something happens in the middle of it, and what became of each file afterwards (W3, W5).

    late.py burst MOUNT-FOLDER STATE FAULT…     FAULT: a command that is run after 90 files; STATE: a folder that is made
    late.py judge SERVER-FOLDER STATE STATUS    STATUS: `vastfs status --json` after a sync; its exit status is $RC
    late.py whole SERVER-FOLDER STATE           all that was accepted is there

STATE/accepted holds, under the same names, what was accepted: each call for it, the last close included, was answered with
success. STATE/told names each path whose call failed, and why; of such files anything may be there.
"""
import errno, json, os, random, subprocess, sys

FOLDERS, FILES, MIDDLE = 20, 12, 90


def burst(mount, state, fault):
    rnd = random.Random(len(mount))
    accepted = state + "/accepted"
    os.makedirs(accepted)
    told, n, failed = {}, 0, False

    def note(path, error):
        told[path] = errno.errorcode[error.errno]
        return False

    def new_file(path, data, mode=0o644):
        try:
            fd = os.open(f"{mount}/{path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:
            return note(path, error)
        good = True
        for call in (lambda: os.write(fd, data), lambda: os.close(fd)):
            try:
                call()
            except OSError as error:
                good = note(path, error)
        return good

    kept = os.open(mount + "/kept", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(kept, b"before\n")
    kept_told = []
    for d in range(FOLDERS):
        try:
            os.mkdir(f"{mount}/{d}")
            os.mkdir(f"{accepted}/{d}")
        except OSError as error:
            note(str(d), error)
            continue
        for f in range(FILES):
            path, data = f"{d}/{f}", rnd.randbytes(rnd.choice([10, 3000, 40000]))
            if new_file(path, data):
                final = path
                if f % 4 == 3:
                    try:
                        os.rename(f"{mount}/{path}", f"{mount}/{path}.renamed")
                        final += ".renamed"
                    except OSError as error:
                        note(path, error)  # under either name
                        note(path + ".renamed", error)
                if path not in told:
                    with open(f"{accepted}/{final}", "wb") as out:
                        out.write(data)
            n += 1
            if n == MIDDLE:
                subprocess.run(fault, check=True, stdout=subprocess.DEVNULL)
            if len(told) > 3:
                failed = True
                break
        if failed:
            break
    # What is open is told at its next write, fsync or close.
    for call in (lambda: os.write(kept, b"after\n" * 30000), lambda: os.fsync(kept), lambda: os.close(kept)):
        try:
            call()
        except OSError as error:
            kept_told.append(errno.errorcode[error.errno])
    if kept_told:
        told["kept"] = kept_told[0]
    else:
        with open(accepted + "/kept", "wb") as out:
            out.write(b"before\n" + b"after\n" * 30000)
    with open(state + "/told", "w") as out:
        json.dump(told, out)
    print(n, "files; told of:", told)


def missing(there, state):
    "Accepted, and not there as it was."
    accepted = state + "/accepted"
    for folder, folders, files in os.walk(accepted):
        for name in folders:
            path = os.path.relpath(f"{folder}/{name}", accepted)
            if not os.path.isdir(f"{there}/{path}"):
                yield path
        for name in files:
            path = os.path.relpath(f"{folder}/{name}", accepted)
            with open(f"{folder}/{name}", "rb") as f:
                data = f.read()
            try:
                with open(f"{there}/{path}", "rb") as f:
                    same = f.read() == data
            except OSError:
                same = False
            if not same:
                yield path


def named(there, status):
    paths = {failure["path"] for failure in status["spool"]["failed"]}
    for failure in status["spool"]["failed"]:
        assert failure["error"], failure
    for failure in status["behind"]["failures"]:
        paths.add(failure["path"])
    return {os.path.relpath(path, there) for path in paths}


def judge(there, state, status, rc):
    with open(status) as f:
        status = json.load(f)
    paths = named(there, status)
    lost = sorted(missing(there, state))
    print(len(lost), "are not there,", len(paths), "named,", status["spool"]["changes"], "changes in the spool")
    silent = [path for path in lost if path not in paths and path.removesuffix(".renamed") not in paths]
    if not status["connected"]:  # they are not failed: they wait in the spool
        assert status["spool"]["changes"] >= len(lost), status["spool"]
        silent = []
    assert not silent, f"not there, and not named: {silent[:10]} of {len(silent)}; named: {sorted(paths)[:10]}"
    assert rc or not lost, "sync has succeeded"


def whole(there, state):
    lost = sorted(missing(there, state))
    assert not lost, f"lost: {lost[:10]} of {len(lost)}"
    strange = [name for _, _, files in os.walk(there) for name in files if "conflict" in name or name.startswith(".vastfs")]
    assert not strange, strange


what, folder, state = sys.argv[1:4]
if what == "burst":
    burst(folder, state, sys.argv[4:])
elif what == "judge":
    judge(folder, state, sys.argv[4], int(os.environ["RC"]))
else:
    whole(folder, state)
