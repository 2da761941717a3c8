# shellcheck shell=bash
# What the integration tests stand on: a throw-away folder, an sshd of our own, the delay proxy, a profile, mounts, and
# lines of results. Sourced by tests/integ/NN-name.sh, scripts/demo and others; needs bash 5.
#
#	. "$(dirname "$0")/../lib.sh"
#	setup                   # $W, keys, sshd, profile
#	mount_fs                # $MNT shows $REMOTE
#	check "what is tested" function args…
#	finish                  # prints "N passed, N failed, N skipped"
#
# Environment: BUILD (folder of the programs), MOUNT_WITH (vastfs, or sshfs or local to compare), KEEP=1 (leave $W behind),
# TRANSPORT (who speaks SSH: the profile's key of that name), SERVER (who answers: external, OpenSSH's sshd with its
# sftp-server, which is the default; internal, with internal-sftp; dropbear, with OpenSSH's sftp-server; proftpd),
# ONLY (a regular expression: run only the checks whose words match), DAEMON_LOG=1 (the daemon stays in the
# foreground of a background job, with -vv, and its words are shown when a check fails).
#
# Everything that is started here is ended here, by its process id.

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$TESTS")
BUILD=${BUILD:-$ROOT/build}
[[ $BUILD == /* ]] || BUILD=$ROOT/$BUILD
MOUNT_WITH=${MOUNT_WITH:-vastfs}
TOOLS=$ROOT/build/tools
PYTHON=$(command -v /usr/bin/python3 || command -v python3)
SERVER=${SERVER:-external}
SFTP_SERVER=${SFTP_SERVER:-}
CHECK_TIMEOUT=${CHECK_TIMEOUT:-60}
case $BUILD in */build/*) CHECK_TIMEOUT=$((CHECK_TIMEOUT * 3)) ;; esac

PASSED=0 FAILED=0 SKIPPED=0 NUMBER=0
W='' REMOTE='' MNT='' SSHD_PORT='' PROXY_PORT=''

# --- results -----------------------------------------------------------------

ok() {
	PASSED=$((PASSED + 1)) NUMBER=$((NUMBER + 1))
	echo "ok $NUMBER - $1"
}

not_ok() { # WORDS [FILE with the details]
	FAILED=$((FAILED + 1)) NUMBER=$((NUMBER + 1))
	echo "not ok $NUMBER - $1"
	[[ -z ${2:-} ]] || tail -n 60 "$2" | sed 's/^/#   /'
	[[ ! -s $W/daemon.log || -z ${DAEMON_LOG:-} ]] || tail -n 40 "$W/daemon.log" | sed 's/^/# daemon: /'
}

skip() { # WORDS REASON
	SKIPPED=$((SKIPPED + 1)) NUMBER=$((NUMBER + 1))
	echo "ok $NUMBER - $1 # SKIP $2"
}

wanted() { [[ -z ${ONLY:-} || $1 =~ $ONLY ]]; }

# Can't the server have what this check wants (tests/integ/differs/SERVER)? Then it is skipped.
differs() { # WORDS
	local list=$TESTS/integ/differs/$SERVER file words why
	[[ -e $list ]] || return 1
	while IFS='|' read -r file words why; do
		[[ $file == "${0##*/}" && ($words == '*' || $1 == "$words"*) ]] || continue
		skip "$1" "$SERVER: $why"
		return
	done <"$list"
	return 1
}

# Runs a function or command in a subshell with `set -e`, in a process group of its own, within CHECK_TIMEOUT seconds.
check() { # WORDS COMMAND…
	local words=$1 out=$W/check.out rc pid dog start
	shift
	start=$(now_ms)
	wanted "$words" || return 0
	! differs "$words" || return 0
	set -m
	(
		set +m
		set -e
		trap - EXIT INT TERM
		"$@"
	) >"$out" 2>&1 </dev/null &
	pid=$!
	( # sleep: the watchdog of a check that hangs
		sleep "$CHECK_TIMEOUT" # sleep: as above
		echo "no end after $CHECK_TIMEOUT s" >>"$out"
		kill -KILL -- "-$pid"
	) >/dev/null 2>&1 &
	dog=$!
	set +m
	wait "$pid" 2>/dev/null
	rc=$?
	kill -KILL -- "-$dog" "-$pid" 2>/dev/null
	wait "$dog" 2>/dev/null
	start=$(($(now_ms) - start))
	[[ $start -lt 3000 ]] || words+=" ($((start / 1000)) s)"
	if [[ $rc == 0 ]]; then ok "$words"; else
		echo "exit status $rc" >>"$out"
		not_ok "$words" "$out"
	fi
}

# The same, but skipped with sshfs, for what only vastfs has.
check_vastfs() { # WORDS COMMAND…
	wanted "$1" || return 0
	if [[ $MOUNT_WITH == vastfs ]]; then check "$@"; else skip "$1" "not for $MOUNT_WITH"; fi
}

# Runs a Python program written with tests/integ/harness.py, and counts its results.
run_py() { # FILE ARGS…
	local line words
	while IFS= read -r line; do
		case $line in
		'pass '*) ok "${line#pass }" ;;
		'fail '*) differs "${line#fail }" || not_ok "${line#fail }" ;;
		'skip '*)
			words=${line#skip }
			skip "${words%%|*}" "${words#*|}"
			;;
		*) echo "#   $line" ;;
		esac
	done < <(PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$TESTS/integ ONLY=${ONLY:-} FS=$MOUNT_WITH W=$W REMOTE=$REMOTE MNT=$MNT \
		"$PYTHON" "$@" 2>&1 </dev/null || echo "fail $* ends with success")
}

# Ends the test file: what sanitizers wrote is a failure, so is a file without a result.
finish() {
	local report
	umount_all
	for report in "$W"/san.*; do
		[[ ! -e $report ]] || not_ok "no report by a sanitizer" "$report"
	done
	trap - EXIT INT TERM
	cleanup
	echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"
	[[ $FAILED == 0 && $((PASSED + SKIPPED)) -gt 0 ]]
	exit
}

# --- words for assertions: each prints why it fails ----------------------------

die() {
	echo "$*" >&2
	exit 1
}
eq() { [[ $1 == "$2" ]] || die "${3:-got} '$1', expected '$2'"; }
le() { [[ $1 -le $2 ]] || die "${3:-value} $1 is above $2"; }
ge() { [[ $1 -ge $2 ]] || die "${3:-value} $1 is below $2"; }
has() { [[ $1 == *"$2"* ]] || die "no '$2' in: $1"; }
has_re() { [[ $1 =~ $2 ]] || die "nothing like /$2/ in: $1"; }
fails() {
	if "$@"; then die "should have failed: $*"; fi
}
# The command's exit status; its words stay in $OUT.
rc_is() { # STATUS COMMAND…
	local want=$1 rc=0
	shift
	OUT=$("$@" 2>&1) || rc=$?
	[[ $rc == "$want" ]] || die "exit status $rc instead of $want from: $*"$'\n'"$OUT"
}
same_file() { cmp "$1" "$2"; }
sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0r sha256sum); }
# All that was done here is on the server.
synced() { sync "${1:-$MNT}"; }
same_tree() {
	local a b
	[[ -z $MNT || $1$2 != *"$REMOTE"* ]] || synced
	a=$(sums "$1")
	b=$(sums "$2")
	[[ $a == "$b" ]] || die "trees differ: $(diff <(echo "$a") <(echo "$b") | head -5)"
}

# Polls until the command succeeds; the only place where tests wait for a time.
wait_for() { # SECONDS COMMAND…
	local deadline=$((SECONDS + $1 + 1))
	shift
	until "$@"; do
		[[ $SECONDS -lt $deadline ]] || return 1
		sleep 0.05 # sleep: between two looks
	done
}

# Waits until something made on the server can be seen here: R1 lets a listing be a while old.
seen() {
	local path
	for path; do
		wait_for 5 test -e "$path" || die "$path is not seen"
	done
}

# Milliseconds since some time, to measure with.
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

# Runs a command and sets MS_TAKEN; returns its status.
timed() {
	local start rc=0
	start=$(now_ms)
	"$@" || rc=$?
	# shellcheck disable=SC2034
	MS_TAKEN=$(($(now_ms) - start))
	return "$rc"
}

# The command succeeds in time; tried for longer, to tell late from never.
within() { # MILLISECONDS COMMAND…
	local limit=$1
	shift
	timed wait_for 20 "$@" || die "never: $*"
	le "$MS_TAKEN" "$limit" "milliseconds until: $*"
}
contains() { [[ $(cat "$1") == "$2" ]]; }
absent() { ! [[ -e $1 ]]; }
present() { [[ -e $1 ]]; }
listed() { ls "$1" | grep -qxF "$2"; }
not_listed() { ! listed "$1" "$2"; }
size_is() { [[ $(stat -c %s "$1") == "$2" ]]; }
mode_is() { [[ $(stat -c %a "$1") == "$2" ]]; }

# --- the folder, the server ------------------------------------------------------

setup_dirs() {
	W=$(mktemp -d "${TMPDIR:-/tmp}/vastfs-test.XXXXXX")
	trap cleanup EXIT
	trap 'exit 130' INT TERM
	mkdir -m 700 "$W/home" "$W/run" "$W/server-home" "$W/home/.ssh" "$W/home/.config"
	mkdir "$W/remote" "$W/mnt" "$W/local"
	REMOTE=$W/remote MNT=$W/mnt
	REAL_HOME=${REAL_HOME:-$HOME}
	export HOME=$W/home XDG_CONFIG_HOME=$W/home/.config XDG_RUNTIME_DIR=$W/run XDG_CACHE_HOME=$W/home/.cache
	export XDG_STATE_HOME=$W/home/.local/state
	export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@example.org \
		GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@example.org
	export ASAN_OPTIONS="log_path=$W/san.asan:detect_leaks=1:abort_on_error=0"
	export LSAN_OPTIONS="suppressions=$TESTS/lsan.supp:print_suppressions=0"
	export UBSAN_OPTIONS="log_path=$W/san.ubsan:print_stacktrace=1"
	export TSAN_OPTIONS="log_path=$W/san.tsan:suppressions=$TESTS/tsan.supp:history_size=4"
	unset SSH_AUTH_SOCK VASTFS_CONFIG
}

setup_keys() {
	ssh-keygen -q -t ed25519 -N '' -C test -f "$W/host_key"
	ssh-keygen -q -t ed25519 -N '' -C test -f "$W/key"
	cp "$W/key.pub" "$W/authorized_keys"
}

# Processes started here are remembered in a file, as a check's subshell has variables of its own. They have a
# session of their own, so that they outlive the check that starts them.
started() { # NAME PID
	echo "$2" >"$W/$1.pid"
	echo "$2 $(born "$2")" >>"$W/pids"
}
# The fields of /proc/PID/stat behind the name, the state first; nothing of one that is gone.
proc_stat() { # PID
	local stat
	read -r stat 2>/dev/null <"/proc/$1/stat" || return 0
	echo "${stat##*) }"
}
# When it began: on a busy machine the number of one that is gone is another one's within minutes.
born() { proc_stat "$1" | cut -d ' ' -f 20; } # PID
pid_of() { cat "$W/$1.pid"; }
gone() { ! kill -0 "$1" 2>/dev/null || grep -qs '^State:.*Z' "/proc/$1/status"; }

free_port() {
	"$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

tcp_open() { (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Starts the server, which can't see our mounts (an absolute symlink back into the mount would deadlock) and whose
# processes all end with it. Its root has a home folder of its own, $W/server-home.
#	SSHD_EXTRA: lines for sshd's configuration   SFTP_SERVER: the Subsystem's command, or none (both: OpenSSH's sshd,
#	whatever SERVER says)   SSHD_ENTER: a shell command run in the new mount namespace first
sshd_start() { # [PORT]
	local port=${1:-$(free_port)} kind=$SERVER home
	[[ -z ${SSHD_EXTRA:-}$SFTP_SERVER ]] || kind=external
	home=$(getent passwd "$(id -u)" | cut -d: -f6)
	case $kind in
	dropbear) dropbear_configure ;;
	proftpd) proftpd_configure "$port" ;;
	*) openssh_configure "$port" ;;
	esac
	if [[ $(id -u) == 0 ]]; then
		mkdir -p /run/sshd
		# A copy of a FUSE mount in this namespace would keep its daemon alive after the unmount.
		setsid unshare -m -p --fork --kill-child --propagation private sh -c \
			"awk '\$3 ~ /^fuse/ { print \$2 }' /proc/self/mounts | xargs -r -n 1 umount -l
			mount --bind '$W/server-home' '$home'; ${SSHD_ENTER:-}
			exec $(server_command "$kind" "$port")" >>"$W/sshd.log" 2>&1 </dev/null &
	else
		setsid sh -c "exec $(server_command "$kind" "$port")" >>"$W/sshd.log" 2>&1 </dev/null &
	fi
	started sshd $!
	disown
	SSHD_PORT=$port
	if ! wait_for 10 tcp_open "$port"; then
		cat "$W/sshd.log" >&2
		die "the server does not start"
	fi
	known_host "$port"
}
server_command() { # KIND PORT
	case $1 in
	dropbear) echo "dropbear -F -E -W 1048576 -r '$W/dropbear_key' -p 127.0.0.1:$2" ;;
	proftpd) echo "proftpd --nodaemon --config '$W/proftpd.conf'" ;;
	*) echo "/usr/sbin/sshd -D -e -f '$W/sshd_config'" ;;
	esac
}
openssh_configure() { # PORT
	local sftp=/usr/lib/openssh/sftp-server
	[[ $SERVER != internal ]] || sftp=internal-sftp
	cat >"$W/sshd_config" <<-END
		${SSHD_EXTRA:-}
		ListenAddress 127.0.0.1
		Port $1
		HostKey ${HOST_KEY:-$W/host_key}
		AuthorizedKeysFile $W/authorized_keys
		PidFile none
		UsePAM no
		StrictModes no
		PasswordAuthentication no
		KbdInteractiveAuthentication no
		PermitRootLogin yes
		LogLevel VERBOSE
	END
	# tests fail to log in on purpose; older servers do not know the word
	if [[ ${SSHD_EXTRA:-} != *PerSourcePenalties* && $(/usr/sbin/sshd -V 2>&1) =~ OpenSSH_(9\.[89]|1[0-9]) ]]; then
		echo "PerSourcePenalties no" >>"$W/sshd_config"
	fi
	[[ $SFTP_SERVER == none ]] || echo "Subsystem sftp ${SFTP_SERVER:-$sftp}" >>"$W/sshd_config"
}
# It wants its own kind of host key, and the authorized keys in the login folder.
dropbear_configure() {
	mkdir -p "$W/server-home/.ssh"
	ln -sf "$W/authorized_keys" "$W/server-home/.ssh/authorized_keys"
	rm -f "$W/dropbear_key"
	dropbearconvert openssh dropbear "${HOST_KEY:-$W/host_key}" "$W/dropbear_key" >/dev/null 2>&1
}
proftpd_configure() { # PORT
	ssh-keygen -e -f "$W/authorized_keys" >"$W/authorized_keys.rfc4716"
	cat >"$W/proftpd.conf" <<-END
		LoadModule mod_sftp.c
		ServerType standalone
		DefaultAddress 127.0.0.1
		Port $1
		UseIPv6 off
		User root
		Group root
		RootLogin on
		FSCachePolicy off
		<IfModule mod_cap.c>
		CapabilitiesEngine off
		</IfModule>
		RequireValidShell off
		UseFtpUsers off
		AuthOrder mod_auth_unix.c
		PidFile $W/proftpd.pid
		ScoreboardFile $W/proftpd.scoreboard
		Umask 022
		AllowOverwrite on
		AllowStoreRestart on
		AllowRetrieveRestart on
		TimeoutIdle 3600
		TimeoutNoTransfer 0
		TimeoutStalled 0
		SFTPEngine on
		SFTPHostKey ${HOST_KEY:-$W/host_key}
		# its curve25519-sha256 of Debian 12 crashes it
		SFTPKeyExchanges ecdh-sha2-nistp256 diffie-hellman-group14-sha256
		SFTPAuthMethods publickey
		SFTPAuthorizedUserKeys file:$W/authorized_keys.rfc4716
	END
}

# Puts the host key of 127.0.0.1:PORT into known_hosts.
known_host() { echo "[127.0.0.1]:$1 $(cut -d' ' -f1,2 <"${HOST_KEY:-$W/host_key}.pub")" >>"$W/known_hosts"; }

# Kills the sshd with all its sessions, as a machine that goes down.
sshd_kill() {
	local pid sshd
	sshd=$(pid_of sshd)
	for pid in $(descendants "$sshd") "$sshd"; do kill -KILL "$pid" 2>/dev/null || true; done
	wait_for 10 gone "$sshd"
}

descendants() { # PID
	local child
	for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
		echo "$child"
		descendants "$child"
	done
}

# Process ids of the processes that speak SFTP, as far as they are no others.
sftp_servers() {
	local pid parent
	parent=$(descendants "$(pid_of sshd)" | head -n 1)
	for pid in $(descendants "$(pid_of sshd)"); do
		case $SERVER:$(cat "/proc/$pid/comm" 2>/dev/null) in
		*:sftp-server) echo "$pid" ;;
		internal:sshd | proftpd:proftpd) [[ $pid == "$parent" ]] || echo "$pid" ;;
		esac
	done
}

# Number of files and folders below $REMOTE that the server holds open.
server_handles() {
	local pid
	for pid in $(descendants "$(pid_of sshd)"); do
		find "/proc/$pid/fd" -lname "$REMOTE*" 2>/dev/null
	done | wc -l
}

proxy_start() { # delayproxy's options
	local line
	[[ -x $TOOLS/delayproxy ]] || make -s -C "$ROOT" tools
	: >"$W/proxy.out"
	setsid "$TOOLS/delayproxy" --listen 0 --target "127.0.0.1:$SSHD_PORT" --control "$W/proxy.ctl" "$@" \
		>"$W/proxy.out" 2>&1 </dev/null &
	started proxy $!
	disown
	wait_for 5 grep -q ^port "$W/proxy.out" || die "the proxy does not start: $(cat "$W/proxy.out")"
	read -r _ line <"$W/proxy.out"
	PROXY_PORT=$line
	known_host "$PROXY_PORT"
}
proxy() { "$TOOLS/delayproxy" --send "$W/proxy.ctl" "$@"; }
proxy_stop() {
	kill "$(pid_of proxy)"
	wait_for 5 gone "$(pid_of proxy)"
}
# Bytes that went up and down so far.
proxy_bytes() { proxy count | sed -E 's/.*up=([0-9]+) down=([0-9]+)/\1 \2/'; }

# --- the mount ---------------------------------------------------------------------

# The profile of the instance "gpu"; more lines as arguments, which win over the usual ones.
write_profile() { # [LINE…]
	local line
	mkdir -p "$XDG_CONFIG_HOME/vastfs"
	{
		echo "[gpu]"
		for line in "host = 127.0.0.1" "port = ${PROXY_PORT:-$SSHD_PORT}" "user = $(id -un)" "key = $W/key" \
			"path = $REMOTE" "known_hosts = $W/known_hosts" ${TRANSPORT:+"transport = $TRANSPORT"}; do
			[[ $'\n'$(printf '%s\n' "$@") == *$'\n'"${line%% *} ="* ]] || echo "$line"
		done
		[[ $# == 0 ]] || printf '%s\n' "$@"
	} >"$XDG_CONFIG_HOME/vastfs/config.ini"
	chmod 600 "$XDG_CONFIG_HOME/vastfs/config.ini"
}

setup() {
	setup_dirs
	setup_keys
	sshd_start
	write_profile
}

is_mounted() { grep -qsF " ${1:-$MNT} " /proc/self/mountinfo; }

# The daemon of a mount, by its command line.
daemon_pid() { # [MOUNTPOINT]
	local dir=${1:-$MNT} file word
	# without a process for each process: on a busy machine that took seconds
	for file in /proc/[0-9]*; do
		read -r word 2>/dev/null <"$file/comm" || continue
		[[ $word == mount.vastfs || $word == sshfs ]] || continue
		while IFS= read -r -d '' word; do
			[[ $word != "$dir" ]] || { echo "${file#/proc/}" && return; }
		done 2>/dev/null <"$file/cmdline" || continue
	done
	return 1
}

# Mounts gpu at $MNT; arguments go to the program.
mount_fs() { # [OPTION…]
	local rc=0
	if [[ $MOUNT_WITH == local ]]; then
		mount --bind "$REMOTE" "$MNT"
	elif [[ $MOUNT_WITH == sshfs ]]; then
		setsid -w sshfs -o "IdentityFile=$W/key,UserKnownHostsFile=$W/known_hosts,Port=${PROXY_PORT:-$SSHD_PORT}" \
			"$(id -un)@127.0.0.1:$REMOTE" "$MNT"
	elif [[ -n ${DAEMON_LOG:-} ]]; then
		setsid "$BUILD/mount.vastfs" -f -v -v "$@" gpu "$MNT" >>"$W/daemon.log" 2>&1 </dev/null &
		started daemon $!
		disown
		wait_for 30 is_mounted
	else
		setsid -w timeout 60 "$BUILD/mount.vastfs" "$@" gpu "$MNT" >"$W/mount.out" 2>&1 </dev/null || rc=$?
		[[ $rc == 0 ]] || cat "$W/mount.out"
		return "$rc"
	fi
}

# Each of the four connections stands; those for bulk data come one after another.
all_up() { [[ $("$BUILD/vastfs" status --json "$MNT" | jq '[.sessions[] | select(.state == "up")] | length') == 4 ]]; }

# Unmounts and waits until the daemon is gone.
umount_fs() { # [MOUNTPOINT]
	local dir=${1:-$MNT} pid
	if [[ $MOUNT_WITH == local ]]; then
		umount "$dir"
		return
	fi
	pid=$(daemon_pid "$dir")
	if [[ $MOUNT_WITH == vastfs ]]; then
		timeout 60 "$BUILD/vastfs" umount "$dir" || return
	else
		fusermount3 -u "$dir" || return
	fi
	! is_mounted "$dir" || die "$dir is still mounted"
	[[ -z $pid ]] || wait_for 20 gone "$pid" || die "the daemon $pid goes on after the unmount"
}

remount_fs() {
	umount_fs && mount_fs "$@"
}

umount_all() {
	local dir pid
	[[ -n $W ]] || return 0 # else each mount of this machine
	for dir in $(awk -v w="$W/" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo); do
		pid=$(daemon_pid "$dir")
		timeout 20 fusermount3 -u "$dir" 2>/dev/null || umount -l "$dir" 2>/dev/null || fusermount3 -u -z "$dir"
		[[ -z $pid ]] || wait_for 20 gone "$pid" || kill -KILL "$pid" 2>/dev/null
	done
}

cleanup() {
	local status=$? pid start child killed=()
	[[ -n $W ]] || return
	# all of it, also in a script that ends at its first error
	set +e
	umount_all
	while read -r pid start; do
		[[ $(born "$pid") == "$start" ]] || continue
		for child in $(descendants "$pid") "$pid"; do kill -KILL "$child" 2>/dev/null; done
		killed+=("$pid")
	done < <(cat "$W/pids" 2>/dev/null)
	# for no others: nobody would end those
	[[ ${#killed[@]} == 0 ]] || wait "${killed[@]}" 2>/dev/null
	if [[ -n ${KEEP:-} ]]; then echo "# kept: $W"; else rm -rf --one-file-system "$W"; fi
	# a file that ends before finish() has failed
	if [[ ${FUNCNAME[1]:-} != finish ]]; then
		[[ $status == 0 && -n ${FINISHES_ITSELF:-} ]] || echo "not ok - $0 ended early (status $status)"
		[[ $status != 0 || -n ${FINISHES_ITSELF:-} ]] || status=1
		exit "$status"
	fi
}
