# shellcheck shell=sh disable=SC2154
# Runs on the instance where there is no python3, for as long as the mount does: tells what changes in
# the folders that it is asked to watch (transport/watcher.h has the messages), by inotifywait, which
# takes its folders at its start. So there is one for those that were asked for together, and when
# there are too many, one for all.
#
#	orders, lines on stdin ---+                        +--> inotifywait -->+
#	                          +--> FIFO --> loop ------+--> inotifywait -->+--> FIFO
#	                                        |
#	                                        +--> messages, packets on stdout
#
# Each folder has a link named by its number, w/NUMBER, and each inotifywait one to the folder d,
# s/ID: what happens in d is told in its turn by each of them, which answers a PING. (That inotify's
# queue ran over inotifywait does not tell; but between two such turns it has told too much then.)
# All is in a folder of its own in /tmp, which goes with it.
LC_ALL=C
export LC_ALL
umask 077
nl='
'
set -f
case $(inotifywait --help 2>/dev/null | head -c 8192) in *fromfile*) ;; *) exit 127 ;; esac
T=$(mktemp -d /tmp/vastfs-watch.XXXXXX) || exit 1
K=${T##*.}
mkdir "$T/w" "$T/s" "$T/d" && mkfifo "$T/f" || exit 1
exec 4<&0 3<>"$T/f"
: >"$T/d/p"

most=24        # inotifywaits at a time (the kernel allows a user 128)
ids=' '        # of those that run
established=' '
last=0         # id
asked=''       # numbers of folders not given to any yet
waiting='' ping='' # ids that a PING waits for, and its number
merging=''     # id of the one that is to take over from all before
set='' n=0     # names that something happened to: INDEX:NUMBER/NAME, and how many
devices=' '    # whose file systems are local

leave() {
	trap - EXIT HUP INT TERM PIPE
	for id in $ids; do
		eval "kill \$pid_$id" 2>/dev/null
	done
	rm -rf "$T"
	exit 0
}
trap leave EXIT HUP INT TERM PIPE

# --- messages: o gathers bytes in octal ---

u8() { o="$o\\$(($1 >> 6 & 3))$(($1 >> 3 & 7))$(($1 & 7))"; }
u32() {
	u8 $(($1 >> 24 & 255))
	u8 $(($1 >> 16 & 255))
	u8 $(($1 >> 8 & 255))
	u8 $(($1 & 255))
}
head_of() { # BYTES TYPE NUMBER
	o=
	u32 $((5 + $1))
	u8 "$2"
	u32 "$3"
}
attributes() { # MODE (hex) UID GID SIZE MTIME LINKS
	u32 $((0x$1))
	u32 "$2"
	u32 "$3"
	u32 $(($4 >> 32))
	u32 "$4"
	u32 "$5"
	u32 "$6"
}
say() { printf "$o%s" "$1" || leave; }

# --- folders ---

refuse() { # NUMBER ERRNO
	rm -f "$T/w/$1"
	head_of 4 5 "$1"
	u32 "$2"
	say
}
is_local() { # PATH DEVICE
	case $devices in *" $2 "*) return 0 ;; esac
	case $(stat -f -c %t -- "$1" 2>/dev/null) in
	ef53 | 58465342 | 9123683e | 794c7630 | 1021994 | 2fc12fc1 | f2f52010 | 858458f6 | ca451a4e | 3153464a | 52654973)
		devices="$devices$2 "
		;;
	*) return 1 ;;
	esac
}
add() { # NUMBER PATH
	if [ -z "$2" ] || [ -L "$2" ] || [ ! -d "$2" ]; then
		refuse "$1" 2
		return
	fi
	identity=$(stat -c %d:%i -- "$2" 2>/dev/null)
	if ! is_local "$2" "${identity%:*}"; then
		refuse "$1" 95
	elif ln -s "$2" "$T/w/$1"; then
		eval "path_$1=\$2 id_of_$1='' identity_$1=\$identity"
		asked="$asked $1"
	else
		refuse "$1" 28
	fi
}
forget() { # NUMBER
	rm -f "$T/w/$1"
	unset "path_$1" "id_of_$1" "identity_$1"
}
gone() {
	[ -L "$T/w/$1" ] || return 0
	eval "id=\$id_of_$1"
	forget "$1"
	if [ -z "$id" ]; then
		refuse "$1" 2
	else
		head_of 0 7 "$1"
		say
	fi
}
all() { # sets numbers: of all that are known
	set +f
	set -- "$T"/w/*
	set -f
	numbers=
	for link; do
		[ ! -L "$link" ] || numbers="$numbers ${link##*/}"
	done
}
moved() { # PATH: it has, with all below
	all
	for below in $numbers; do
		eval "path=\$path_$below"
		case $path/ in "$1"/*) gone "$below" ;; esac
	done
}
lost() {
	for id in $ids; do
		eval "kill \$pid_$id" 2>/dev/null
	done
	all
	for number in $numbers; do
		eval "id=\$id_of_$number"
		if [ -z "$id" ]; then refuse "$number" 2; else forget "$number"; fi
	done
	asked='' set='' n=0 merging=''
	head_of 0 8 0
	say
	[ -z "$ping" ] || answer
}

# --- inotifywait ---

start() { # NUMBERS
	last=$((last + 1))
	ln -s "$T/d" "$T/s/$last"
	eval "numbers_$last=\$1 lines_$last=0"
	{
		for number in $1; do echo "$T/w/$number"; done
		echo "$T/s/$last"
	} >"$T/l$last"
	mkfifo "$T/e$last"
	inotifywait -m --fromfile "$T/l$last" -e modify,attrib,close_write,moved_from,moved_to,create,delete \
		-e delete_self,move_self,unmount --format "V|%e|%w|%f|$K" \
		>"$T/f" 2>"$T/e$last" 3<&- </dev/null &
	eval "pid_$last=$!"
	{
		while IFS= read -r line; do
			case $line in 'Watches established'*) echo "E $last" ;; esac
		done <"$T/e$last"
		echo "X $last"
	} >"$T/f" 3<&- &
	ids="$ids$last "
}
# Given to one; too many of those become one.
go() {
	[ -z "$asked" ] || start "$asked"
	asked=
	set -- $ids
	if [ $# -gt "$most" ] && [ -z "$merging" ]; then
		all
		start "$numbers"
		merging=$last
	fi
}
told_to_be_on() { # NUMBER: is the folder still the one that was asked for?
	eval "path=\$path_$1 want=\$identity_$1"
	IFS=' ' read -r a b c d e f g <<-END
		$(stat -c '%f %u %g %s %Y %h %d:%i' -- "$path" 2>/dev/null)
	END
	if [ "$g" != "$want" ]; then
		refuse "$1" 2
		return
	fi
	head_of 48 5 "$1"
	u32 0
	u32 0
	u32 0
	u32 0
	u32 0
	attributes "$a" "$b" "$c" "$d" "$e" "$f"
	say
}
began() { # ID
	established="$established$1 "
	rm -f "$T/l$1" "$T/e$1"
	eval "list=\$numbers_$1"
	for number in $list; do
		[ -L "$T/w/$number" ] || continue
		eval "old=\$id_of_$number; id_of_$number=$1"
		[ -n "$old" ] || told_to_be_on "$number"
	done
	[ "$1" = "$merging" ] || return 0
	merging=
	for id in $established; do
		[ "$id" -ge "$1" ] || eval "kill \$pid_$id" 2>/dev/null
	done
}
ended() { # ID
	eval "list=\$numbers_$1"
	ids=${ids%%" $1 "*}" "${ids#*" $1 "}
	case $established in *" $1 "*) established=${established%%" $1 "*}" "${established#*" $1 "} ;; esac
	[ "$merging" != "$1" ] || merging=
	for number in $list; do
		eval "id=\${id_of_$number-}"
		if [ "$id" = "$1" ]; then
			gone "$number"
		elif [ -z "$id" ] && [ -L "$T/w/$number" ]; then
			refuse "$number" 11
		fi
	done
	unset "numbers_$1" "lines_$1" "pid_$1"
	rm -f "$T/s/$1" "$T/l$1" "$T/e$1"
	case $waiting in *" $1 "*) turn "$1" ;; esac
}

# --- what happens ---

turn() { # ID: it has told all that was before the PING
	case $waiting in *" $1 "*) ;; *) return 0 ;; esac
	waiting=${waiting%%" $1 "*}" "${waiting#*" $1 "}
	[ "$waiting" != " " ] || answer
}
answer() {
	flush
	head_of 0 4 "$ping"
	say
	ping='' waiting=''
}
note() { # NUMBER/NAME BITS
	case $set in
	*":$1$nl"*)
		i=${set%%":$1$nl"*}
		i=${i##*"$nl"}
		eval "bits_$i=\$((bits_$i | $2))"
		return
		;;
	esac
	n=$((n + 1))
	eval "entry_$n=\$1 bits_$n=$2"
	if [ $n = 1 ]; then
		set=$nl
		{ sleep 0.05 && echo T; } >"$T/f" 3<&- &
	fi
	set="$set$n:$1$nl"
	[ $n -lt 200 ] || flush
}
happened() { # LINE
	rest=${1#V|}
	what=${rest%%|*}
	rest=${rest#*|}
	at=${rest%%|*}
	name=${rest#*|}
	at=${at%/}
	number=${at##*/}
	case $at in
	"$T"/s/*)
		case $what in *CLOSE_WRITE*) eval "lines_$number=0" && turn "$number" ;; esac
		return 0
		;;
	esac
	[ -L "$T/w/$number" ] || return 0
	eval "id=\${id_of_$number} path=\$path_$number"
	if [ -n "$id" ]; then
		eval "lines_$id=\$((lines_$id + 1))"
		eval "[ \$lines_$id -lt $most_lines ]" || { lost && return 0; }
	fi
	case $name in
	*"|$K") name=${name%"|$K"} ;;
	*) gone "$number" && return 0 ;; # a name with a newline, which nobody could tell of
	esac
	case $what in
	*DELETE_SELF* | *UNMOUNT*) gone "$number" && return 0 ;;
	*MOVE_SELF*)
		moved "$path"
		return 0
		;;
	MOVED_FROM,ISDIR | DELETE,ISDIR) moved "${path%/}/$name" ;;
	esac
	bits=0
	case $what in *MODIFY* | *CLOSE_WRITE*) bits=1 ;; esac
	case $what in *CREATE* | DELETE* | *MOVED_*) bits=$((bits | 2)) ;; esac
	case $what in *CREATE,ISDIR* | *CLOSE_WRITE* | *MOVED_TO*) bits=$((bits | 32)) ;; *CREATE* | *MODIFY*) bits=$((bits | 16)) ;; esac
	case $what in CREATE) bits=$((bits | 64)) ;; esac
	note "$number/$name" $bits
}
# Sets fields a to g of the path in $out; false when it is not there.
fields() {
	case $out in *" $1$nl"*) ;; *) return 1 ;; esac
	line=${out%%" $1$nl"*}
	IFS=' ' read -r a b c d e f g <<-END
		${line##*"$nl"}
	END
}
changed() { # NUMBER BITS NAME: as fields says, or (bits without 4) not there
	head_of $((29 + ${#3})) 6 "$1"
	u8 "$2"
	if [ $(($2 & 4)) = 0 ]; then
		attributes 0 0 0 0 0 0
	else
		attributes "$a" "$b" "$c" "$d" "$e" "$f"
	fi
	say "$3"
}
tell() { # NUMBER BITS NAME
	[ -L "$T/w/$1" ] || return 0
	told=$(($2 & 3))
	[ $(($2 & 48)) != 16 ] || told=$((told | 8)) # somebody is about to write more
	if [ -z "$3" ]; then
		fields "$T/w/$1/." && changed "$1" 4 ''
	elif ! fields "$T/w/$1/$3"; then
		changed "$1" $told "$3"
	elif [ $(($2 & 64)) != 0 ] && [ "$f" != 1 ]; then
		gone "$1" # nobody tells of the other name
	else
		changed "$1" $((told | 4)) "$3"
	fi
}
# What the names are now. They are told only if the folder's path still leads to it.
flush() {
	[ $n != 0 ] || return 0
	folders=' ' i=0 count=$n
	set --
	while [ $i -lt $count ]; do
		i=$((i + 1))
		eval "entry=\$entry_$i bits=\$bits_$i"
		number=${entry%%/*}
		set -- "$@" "$T/w/$entry"
		case $folders in
		*" $number "*) ;;
		*) folders="$folders$number " && set -- "$@" "$T/w/$number/." ;;
		esac
		[ $((bits & 2)) = 0 ] || eval "names_$number=1"
	done
	out=$nl$(stat -c '%f %u %g %s %Y %h %d:%i %n' -- "$@" 2>/dev/null)$nl
	for number in $folders; do
		[ -L "$T/w/$number" ] || continue
		eval "want=\$identity_$number named=\${names_$number-}"
		unset "names_$number"
		if ! fields "$T/w/$number/." || [ "${g%% *}" != "$want" ]; then
			gone "$number"
		elif [ -n "$named" ]; then
			changed "$number" 4 ''
		fi
	done
	set='' n=0 i=0
	while [ $i -lt $count ]; do
		i=$((i + 1))
		eval "entry=\$entry_$i bits=\$bits_$i"
		tell "${entry%%/*}" "$bits" "${entry#*/}"
	done
}

# --- orders ---

most_lines=$(cat /proc/sys/fs/inotify/max_queued_events 2>/dev/null)
most_lines=$((${most_lines:-1024} / 2 - 64))
limit=$(cat /proc/sys/fs/inotify/max_user_watches 2>/dev/null)
[ "${limit:=0}" -lt 4096 ] || limit=4096
o='\000\000\000\025\002vastfs-watch'
u32 1
u32 "$limit"
say

{
	while IFS= read -r line; do printf 'C %s\n' "$line"; done <&4
	echo 'C Q'
} >"$T/f" 3<&- &
exec 4<&-

while IFS= read -r line <&3; do
	case $line in
	"V|"*) happened "$line" ;;
	"C A "*)
		line=${line#C A }
		add "${line%% *}" "${line#* }"
		;;
	"C D "*) forget "${line#C D }" ;;
	"C P "*)
		ping=${line#C P }
		waiting=$established
		if [ "$waiting" = ' ' ]; then answer; else : >"$T/d/p"; fi
		;;
	"C G"*) go ;;
	"C Q") leave ;;
	"E "*) began "${line#E }" ;;
	"X "*) ended "${line#X }" ;;
	T) flush ;;
	esac
done
