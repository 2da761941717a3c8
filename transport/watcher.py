# Runs on the instance, for as long as the mount does: tells what changes in the folders that it is
# asked to watch (transport/watcher.h has the messages). Nothing is installed, written or run.
import ctypes, errno, hashlib, os, select, stat, struct, sys, time

MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 2, 4, 8, 64, 128, 256, 512
DELETE_SELF, MOVE_SELF, UNMOUNT, OVERFLOW, IGNORED = 0x400, 0x800, 0x2000, 0x4000, 0x8000
ISDIR, ONLYDIR, DONT_FOLLOW, EXCL_UNLINK = 0x40000000, 0x1000000, 0x2000000, 0x4000000
CONTENT, NAME = MODIFY | CLOSE_WRITE, MOVED_FROM | MOVED_TO | CREATE | DELETE
SELF_GONE = DELETE_SELF | MOVE_SELF | UNMOUNT | IGNORED
MASK = CONTENT | NAME | ATTRIB | DELETE_SELF | MOVE_SELF | ONLYDIR | DONT_FOLLOW | EXCL_UNLINK
ADD, HELLO, DROP, PING, ADDED, CHANGED, GONE, LOST = range(1, 9)
# File systems whose every change this kernel makes: ext, xfs, btrfs, overlay, tmpfs, zfs, f2fs,
# ramfs, bcachefs, jfs, reiserfs.
LOCAL = {0xEF53, 0x58465342, 0x9123683E, 0x794C7630, 0x01021994, 0x2FC12FC1, 0xF2F52010,
         0x858458F6, 0xCA451A4E, 0x3153464A, 0x52654973}
DIGEST_MAX = 20000  # names in a folder
PAUSE = 0.03        # between two looks at what happened
SWEEP = 0.002       # seconds for looking at folders again, with each ping
SWEEP_MAX = 2000    # names in a folder

libc = ctypes.CDLL(None, use_errno=True)
notify = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
# Watch descriptor -> [number, path, identity, stamp or None, names], and back by number.
watches, numbers = {}, {}
rounds = []  # watch descriptors still to be swept


def write(kind, number, rest=b''):
    data = struct.pack('>IBI', 5 + len(rest), kind, number) + rest
    while data:
        data = data[os.write(1, data):]


def attributes(s):
    return struct.pack('>IIIQII', s.st_mode & 0o177777, s.st_uid & 0xFFFFFFFF,
                       s.st_gid & 0xFFFFFFFF, s.st_size,
                       (s.st_mtime_ns // 10**9) & 0xFFFFFFFF, s.st_nlink & 0xFFFFFFFF)


def stamp_of(name, s):
    if stat.S_ISDIR(s.st_mode):  # what happens in it is told by its own watch
        return hash((name, s.st_mode, s.st_uid, s.st_gid, s.st_dev, s.st_ino))
    return hash((name, s.st_mode, s.st_nlink, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))


def digest(path):
    """The number of names + 1 (0: too many), their digest, and their stamp."""
    total = count = stamp = 0
    with os.scandir(path) as entries:
        for entry in entries:
            count += 1
            if count > DIGEST_MAX:
                return 0, 0, None
            s = entry.stat(follow_symlinks=False)
            text = attributes(s)[:24]
            if stat.S_ISDIR(s.st_mode):
                text = text[:12] + bytes(8) + text[20:]
            text += entry.name
            if s.st_nlink > 1 and not stat.S_ISDIR(s.st_mode):
                text += b'/' + attributes(s)[24:]
            total += struct.unpack('>Q', hashlib.sha256(text).digest()[:8])[0]
            stamp += stamp_of(entry.name, s)
    return count + 1, total & 0xFFFFFFFFFFFFFFFF, stamp


def sweep():
    """Finds, late, what inotify does not tell: another name given to a file, writes through it or
    through mmap, a file system mounted. A folder that is not as it was is not watched any more."""
    end = time.monotonic() + SWEEP
    if not rounds:
        rounds.extend(watches)
    while rounds and time.monotonic() < end:
        wd = rounds.pop()
        if wd not in watches or watches[wd][4] > SWEEP_MAX:
            continue
        try:
            with os.scandir(watches[wd][1]) as entries:
                stamp = sum(stamp_of(e.name, e.stat(follow_symlinks=False)) for e in entries)
        except OSError:
            stamp = None
        if watches[wd][3] is None:
            watches[wd][3] = stamp
        elif watches[wd][3] != stamp:
            gone(wd)


def is_local(path):
    room = ctypes.create_string_buffer(256)
    if libc.statfs(path, room):
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return ctypes.c_long.from_buffer(room).value & 0xFFFFFFFF in LOCAL


def leads_to(path, identity):
    try:
        s = os.lstat(path)
    except OSError:
        return False
    return (s.st_dev, s.st_ino) == identity


def unname(wd):
    number = watches.pop(wd)[0]
    numbers.pop(number, None)
    return number


def forget(wd):
    number = unname(wd)
    libc.inotify_rm_watch(notify, wd)
    return number


def add(number, wanted, path):
    wd = -1
    try:
        if not is_local(path):
            return write(ADDED, number, struct.pack('>I', errno.EOPNOTSUPP))
        wd = libc.inotify_add_watch(notify, path, MASK)
        if wd < 0:
            return write(ADDED, number, struct.pack('>I', ctypes.get_errno() or errno.EIO))
        if wd in watches:
            if watches[wd][1] != path and leads_to(watches[wd][1], watches[wd][2]):
                return write(ADDED, number, struct.pack('>I', errno.EEXIST))
            write(GONE, unname(wd))  # it has moved, which nobody has told yet
        s = os.lstat(path)
        watches[wd], numbers[number] = [number, path, (s.st_dev, s.st_ino), None, 0], wd
        count, total, stamp = digest(path) if wanted else (0, 0, None)
        watches[wd][3:] = [stamp, count or DIGEST_MAX]
        write(ADDED, number, struct.pack('>IQQ', 0, count, total) + attributes(s))
    except OSError as e:
        if wd in watches:
            forget(wd)
        elif wd >= 0:
            libc.inotify_rm_watch(notify, wd)
        write(ADDED, number, struct.pack('>I', e.errno or errno.EIO))


def gone(wd):
    if wd in watches:
        write(GONE, forget(wd))


def moved(wd, name):
    """A folder (in a watched one, or that itself) got another name: so have the paths of those below it."""
    below = (watches[wd][1].rstrip(b'/') + b'/' + name).rstrip(b'/')
    for other in [w for w, x in watches.items()
                  if x[1] == below or x[1].startswith(below + b'/')]:
        gone(other)


def tell(wd, names):
    """What the names are now; they are told only if the folder's path still leads to it."""
    number, path, identity = watches[wd][:3]
    watches[wd][3] = None
    told = []
    if any(bits & NAME for bits in names.values()):
        names.setdefault(b'', 0)
    for name, bits in names.items():
        flags = (1 if bits & CONTENT else 0) | (2 if bits & NAME else 0)
        if bits & (CREATE | MODIFY) and not bits & (CLOSE_WRITE | MOVED_TO | ISDIR):
            flags |= 8  # somebody is about to write more
        try:
            s = os.lstat(path.rstrip(b'/') + b'/' + name if name else path)
            if bits & CREATE and s.st_nlink > 1 and not bits & ISDIR:
                return gone(wd)  # nobody tells of the other name
            told.append(bytes([flags | 4]) + attributes(s) + name)
        except OSError as e:
            if e.errno not in (errno.ENOENT, errno.ENOTDIR) or not name:
                return gone(wd)
            told.append(bytes([flags]) + bytes(28) + name)
    if not leads_to(path, identity):
        return gone(wd)
    for rest in told:
        write(CHANGED, number, rest)


def look():
    """Reads all that has happened, and tells it. False when nothing had."""
    happened, some = {}, False
    while True:
        try:
            data = os.read(notify, 65536)
        except BlockingIOError:
            break
        some, at = True, 0
        while at < len(data):
            wd, mask, _, size = struct.unpack_from('iIII', data, at)
            name = data[at + 16:at + 16 + size].rstrip(b'\0')
            at += 16 + size
            if mask & OVERFLOW:
                for wd in list(watches):
                    forget(wd)
                happened = {}
                write(LOST, 0)
            elif wd not in watches:
                continue
            elif mask & SELF_GONE:
                if mask & (MOVE_SELF | UNMOUNT):
                    moved(wd, b'')
                gone(wd)
            else:
                if mask & ISDIR and mask & (MOVED_FROM | DELETE):
                    moved(wd, name)
                names = happened.setdefault(wd, {})
                names[name] = names.get(name, 0) | mask
    for wd, names in happened.items():
        if wd in watches:
            tell(wd, names)
    return some


def obey(kind, number, rest):
    if kind == ADD:
        add(number, rest[0], rest[1:])
    elif kind == DROP and number in numbers:
        forget(numbers[number])
    elif kind == PING:
        look()
        write(PING, number)
        sweep()


def main():
    limit = 0
    try:
        with open('/proc/sys/fs/inotify/max_user_watches') as f:
            limit = int(f.read())
    except (OSError, ValueError):
        pass
    if notify < 0:
        limit = 0
    os.write(1, struct.pack('>IB12sII', 21, HELLO, b'vastfs-watch', 1, min(limit, 1 << 30)))
    orders, after = b'', 0
    while True:
        now = time.monotonic()
        ready = select.select([0] + ([notify] if now >= after else []), [], [],
                              max(after - now, 0) if now < after else None)[0]
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                return
            orders += data
            while len(orders) >= 4:
                size = struct.unpack('>I', orders[:4])[0]
                if len(orders) < 4 + size:
                    break
                kind, number = struct.unpack('>BI', orders[4:9])
                obey(kind, number, orders[9:4 + size])
                orders = orders[4 + size:]
        if notify in ready and look():
            after = time.monotonic() + PAUSE


try:
    main()
except (BrokenPipeError, KeyboardInterrupt):
    pass
