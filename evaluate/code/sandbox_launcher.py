"""The inside of `evaluate.code.sandbox`: confines itself, runs one untrusted program in a child, and reports.

    python -I -S sandbox_launcher.py REPORT_FD     (the job as JSON on standard input)

It is started by path without site-packages, so it imports only the standard library. Three processes: the launcher
watches the clock; below it is the first process of a new process namespace (when it ends, everything in it ends); below
that the worker, which runs the program. Without namespaces, the launcher adopts and ends orphaned processes.

Why the program cannot simply claim that it passed: the worker's main thread holds a random token in a local variable,
and the program runs in another thread whose oldest frame is its own (`exec` is called from C), so walking up the stack
never leads to the token. Only a deque to which no object of the program refers records that all parts ran. An audit
hook refuses the ways around this: frames of other threads, the garbage collector's lists, ctypes, subinterpreters.
`_prove` says what the main thread must not do meanwhile.
"""

# ruff: noqa: PTH109, PTH116, PTH123, PTH208
# (Importing pathlib would take a third of the start-up time.)
import _thread
import ctypes
import functools
import itertools
import json
import os
import resource
import signal
import sys
import time
import types
import weakref
from collections import deque
from typing import NoReturn

NEW_NAMESPACES = 0x10000000 | 0x40000000 | 0x20000000 | 0x00020000 | 0x08000000
"""CLONE_NEWUSER, _NEWNET, _NEWPID, _NEWNS, _NEWIPC (linux/sched.h)."""
MS_RDONLY, MS_BIND, MS_REC, MS_PRIVATE = 1, 0x1000, 0x4000, 0x40000
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
NOBODY = 65534
SYNTAX_ERROR, NOT_PASSED, BAD_TESTS = 65, 66, 67
"""The worker's own exit codes; a program that exits with one of them has not passed either."""
THREAD_STACK = 16 << 20
END = ""
"""A value that no part of a program returns: `exec` always returns None."""

libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]


def main() -> None:
    """Reads the job, runs it, and writes two lines of JSON, before and after, to the descriptor in the arguments."""
    report = int(sys.argv[1])
    job = json.loads(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if os.geteuid() == 0:
        os.setresuid(NOBODY, 0, 0)  # limits on processes do not apply to root
    isolated, writes_confined = _isolate(job["limits"]["folder_mib"]) if job["isolate"] else (False, False)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which resets it
    libc.prctl(PR_SET_DUMPABLE, 0)  # only root may read our memory through /proc
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    os.write(report, json.dumps({"isolated": isolated, "writes_confined": writes_confined}).encode() + b"\n")
    proof, proof_end = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    started = time.monotonic()
    if (child := os.fork()) == 0:
        os.close(report)
        os.close(proof)
        _first_process(job, proof_end) if isolated else _worker(job, proof_end, _own_tasks())
    os.close(proof_end)
    code, timed_out = _wait(child, started + job["seconds"])
    seconds = time.monotonic() - started
    _end_orphans()
    os.set_blocking(proof, False)
    try:
        written = os.read(proof, 2 * len(job["token"]))  # a longer text than the token is not the token
    except BlockingIOError:
        written = b""
    after = {"exit_code": code, "timed_out": timed_out, "seconds": seconds, "proof": written.hex()}
    os.write(report, json.dumps(after).encode() + b"\n")


def _isolate(folder_mib: int) -> tuple[bool, bool]:
    """Enters new namespaces (no network, processes that end together) and makes files outside our folder read-only.

    Returns whether the kernel allowed the first, and whether the second is in place.
    """
    user, group, here = os.geteuid(), os.getegid(), os.fsencode(os.getcwd())
    if libc.unshare(NEW_NAMESPACES) != 0:
        return False, False
    mapped = _map_ids(user, group)
    done = (
        libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) == 0
        and _set_read_only(b"/", recursive=True, on=True)
        and ((mapped and _small_folder(here, folder_mib)) or _writable_folder(here))
        and libc.mount(b"none", b"/proc", b"tmpfs", MS_RDONLY, None) == 0
    )
    os.chdir(here)
    return True, done


def _map_ids(user: int, group: int) -> bool:
    """Lets us own files in the new namespace's file systems; the program sees itself as nobody."""
    maps = {"uid_map": f"{NOBODY} {user} 1", "setgroups": "deny", "gid_map": f"{NOBODY} {group} 1"}
    try:
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    except OSError:
        return False
    return True


def _small_folder(here: bytes, mib: int) -> bool:
    """Mounts an empty file system of limited size in memory, which vanishes with the last process."""
    options = f"size={mib}m,nr_inodes=4096,mode=0700"
    return libc.mount(b"none", here, b"tmpfs", 0, options.encode()) == 0


def _writable_folder(here: bytes) -> bool:
    return libc.mount(here, here, None, MS_BIND, None) == 0 and _set_read_only(here, recursive=False, on=False)


def _set_read_only(path: bytes, *, recursive: bool, on: bool) -> bool:
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY * on, MOUNT_ATTR_RDONLY * (not on), 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    return libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path, AT_RECURSIVE * recursive, attributes, size) == 0


def _own_tasks() -> int:
    """Counts the threads that this user already has: without a namespace they count against the limit too."""
    count = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            continue
    return count


def _wait(child: int, deadline: float) -> tuple[int, bool]:
    """Returns the exit code of `child` (128 + n for signal n) and whether it had to be killed."""
    timed_out = False
    while True:
        done, status = os.waitpid(child, 0 if timed_out else os.WNOHANG)
        if done:
            return _code(status), timed_out
        left = deadline - time.monotonic()
        if left <= 0:
            os.kill(child, signal.SIGKILL)
            timed_out = True
        else:
            signal.sigtimedwait({signal.SIGCHLD}, left)


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _end_orphans() -> None:
    """Kills orphaned processes until there are none; with a process namespace there never are any."""
    while True:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as children:
                for child in children.read().split():
                    os.kill(int(child), signal.SIGKILL)
        except OSError:
            pass
        try:
            os.wait()
        except ChildProcessError:
            return


def _first_process(job: dict, proof: int) -> NoReturn:
    """Runs process 1 of the namespace: it adopts orphans, and when it ends after the worker, all others end."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if (worker := os.fork()) == 0:
        _worker(job, proof, 1)
    os.close(proof)
    while True:
        done, status = os.wait()
        if done == worker:
            os._exit(_code(status))


def _limit(limits: dict, tasks: int) -> None:
    for what, most in (
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_AS, limits["memory_mib"] << 20),
        (resource.RLIMIT_FSIZE, limits["file_mib"] << 20),
        (resource.RLIMIT_NPROC, limits["processes"] + tasks),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))


def _drop_privileges() -> None:
    """Drops all capabilities, and the ways to get them back."""
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())


def _worker(job: dict, proof: int, tasks: int) -> NoReturn:
    """Runs the parts of the program one after the other in a thread; writes the token if all ran to their end."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # `_thread.interrupt_main` must not reach the main thread
    _drop_privileges()
    _limit(job["limits"], tasks)
    codes, token = _compile(job["parts"]), job["token"].encode()
    module = types.ModuleType("__main__")
    module.__name__ = "program"  # as under exec in a bare namespace: `if __name__ == "__main__"` does not run
    for name in [n for n in sys.modules if n.partition(".")[0] in ("ctypes", "_ctypes", "__main__")]:
        del sys.modules[name]
    sys.modules["__main__"] = sys.modules["program"] = module
    sys.argv = ["program"]
    _thread.stack_size(THREAD_STACK)
    _prove(codes, vars(module), token, proof)


def _prove(codes: list[types.CodeType], names: dict, token: bytes, proof: int) -> NoReturn:
    """Runs the parts in a thread and writes the token once all ran to their end. Never returns, never raises.

    Once the thread has started, this function looks up no name outside itself and allocates nothing: whatever the
    program replaces (builtins, modules, exception hooks) or provokes (a recursion limit below our own depth, the
    garbage collector) never runs with this frame below it, where it could read the token.
    """
    end, write, sleep, size, count, not_passed = os._exit, os.write, time.sleep, len, len(codes), NOT_PASSED
    # All in C: none of our frames is below the program's. An exception ends the map early; `sys.unraisablehook` then
    # gets a bare method. Nothing that the program can reach refers to `done`.
    done: deque[None] = deque()
    step = functools.partial(next, map(exec, codes, itertools.repeat(names)), END)
    running, steps = weakref.ref(step), iter(step, END)
    start, extend = _thread.start_new_thread, deque.extend
    sys.addaudithook(_guard())
    try:
        start(extend, (done, steps))
        del step, steps
        while running() is not None:  # we keep `codes` and `names`, so that no finalizer runs in this thread
            sleep(0.002)
        if size(done) == count:
            write(proof, token)
            end(0)
    except:  # noqa: E722 (a name here could be replaced)
        pass
    while True:
        try:
            end(not_passed)
        except:  # noqa: E722
            continue


def _compile(parts: list[list[str]]) -> list[types.CodeType]:
    """Compiles each part on its own: an open string or bracket in the program cannot swallow the tests."""
    codes = []
    for name, source in parts:
        try:
            codes.append(compile(source, f"<{name}>", "exec", dont_inherit=True))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: too deeply nested
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(SYNTAX_ERROR if name == "program" else BAD_TESTS)
    return codes


def _guard() -> types.FunctionType:
    """Makes the audit hook with empty globals: its frame in a traceback leads nowhere."""
    frames = ("sys._current_frames", "sys._current_exceptions", "sys.addaudithook", "cpython._PySys_ClearAuditHooks")
    events = frozenset((*frames, "gc.get_objects", "gc.get_referrers", "gc.get_referents"))
    testing = ("_ctypes_test", "_testcapi", "_testinternalcapi", "_testbuffer")
    modules = frozenset(("ctypes", "_ctypes", "_xxsubinterpreters", *testing))
    refused, names = (events, modules, sys.base_exec_prefix + "/"), (str, bytes, type, str.startswith, str.__contains__)
    return types.FunctionType(_refuse.__code__, {}, "_refuse", ((*refused, *names, ImportError, RuntimeError),))


def _refuse(event, args, own=()):  # noqa: ANN202 (it has no globals, so no annotations either)
    """Refuses what the program may not do; allows everything else. Uses nothing that the program could replace."""
    events, modules, extensions, text, raw, kind, starts, contains, no_import, error = own
    if event in events or starts(event, "ctypes."):
        raise error("not in the sandbox: " + event)
    if event == "import":
        name, path = args[0], args[1]
        if kind(name) is not text or name in modules:
            raise no_import("not in the sandbox: this module")
        if path is not None and not (kind(path) is text and starts(path, extensions)):
            raise no_import("not in the sandbox: extension modules of one's own")
    elif event in ("open", "os.symlink", "os.link", "os.chdir"):
        path = args[0]
        if kind(path) is raw:
            path = text(path, "latin-1")
        if kind(path) is text and (starts(path, "/proc") or contains(path, "/proc/") or path in ("proc", "mem")):
            raise error("not in the sandbox: " + path)


if __name__ == "__main__":
    main()
