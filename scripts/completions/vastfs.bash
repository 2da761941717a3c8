# shellcheck shell=bash
# Completion of vastfs(1) and mount.vastfs(8) for bash.

_vastfs_ids() { vastfs list --ids 2>/dev/null; }
_vastfs_mounts() { vastfs status --json 2>/dev/null | sed -n 's/^ *"mountpoint": "\(.*\)",\{0,1\}$/\1/p'; }
_vastfs_targets() {
	_vastfs_mounts
	_vastfs_ids
}
_vastfs_options() { mount.vastfs -h 2>/dev/null | sed -n 's/^    \([a-z_]*\)\(=[^ ]*\)\{0,1\} .*/\1\2/p'; }
_vastfs_commands() { vastfs --help 2>/dev/null | sed -n 's/^.* vastfs \([a-z]*\) .*/\1/p'; }

# Words, one a line, that begin with $2, into COMPREPLY.
_vastfs_reply() {
	local IFS=$'\n'
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

# The words up to the cursor into words=(): bash parts them at "=" and ":" too.
_vastfs_words() {
	local i part joins=''
	words=()
	for ((i = 0; i <= COMP_CWORD; i++)); do
		part=${COMP_WORDS[i]}
		if [[ ${#words[@]} -gt 0 && ($joins || $part == [=:]*) ]]; then
			words[-1]+=$part
		else
			words+=("$part")
		fi
		if [[ $part == *[=:] ]]; then joins=1; else joins=''; fi
	done
}

_vastfs() {
	local words word command count
	_vastfs_words
	word=${words[-1]} command=${words[1]:-} count=${#words[@]}
	if [[ $count == 2 ]]; then
		_vastfs_reply "$(_vastfs_commands)"$'\n'--help$'\n'--version "$word"
		return
	fi
	case $command:$count:$word in
	show:3:* | edit:3:* | remove:3:* | doctor:3:* | add:3:*) _vastfs_reply "$(_vastfs_ids)" "$word" ;;
	status:*:-*) _vastfs_reply $'--json\n--watch' "$word" ;;
	sync:*:-*) _vastfs_reply --progress "$word" ;;
	status:*) _vastfs_reply "$(_vastfs_targets)" "$word" ;;
	sync:[34]:* | umount:3:* | ssh:3:* | forward:3:* | spool:3:*) _vastfs_reply "$(_vastfs_targets)" "$word" ;;
	forward:4:*) _vastfs_reply $'list\nadd\nremove' "$word" ;;
	forward:5:-*) _vastfs_reply --save "$word" ;;
	spool:4:*) _vastfs_reply $'list\nretry\ndiscard' "$word" ;;
	cache:3:*) _vastfs_reply $'show\nclear\npin\nunpin' "$word" ;;
	cache:4:*)
		if [[ ${words[2]} == *pin ]]; then
			mapfile -t COMPREPLY < <(compgen -f -- "$word")
		else
			_vastfs_reply "$(_vastfs_targets)" "$word"
		fi
		;;
	key:3:*) _vastfs_reply new "$word" ;;
	key:4:-*) _vastfs_reply --passphrase "$word" ;;
	run:3:-*) _vastfs_reply $'-t\n-T\n--on\n--' "$word" ;;
	run:*)
		if [[ ${words[-2]} == --on ]]; then
			_vastfs_reply "$(_vastfs_targets)" "$word"
		else
			mapfile -t COMPREPLY < <(compgen -c -- "$word"; compgen -f -- "$word")
		fi
		;;
	esac
}

# What follows -o, all of it or what follows its last comma: an option, or its value.
_mount_vastfs_option() { # WORD
	local last=${1##*,} key words replaced
	if [[ $last != *=* ]]; then
		_vastfs_reply "$(_vastfs_options | sed "s/=.*/=/; s/^/${1%"$last"}/")" "$1"
		compopt -o nospace +o filenames 2>/dev/null
		return
	fi
	# bash replaces what follows the "=", or the whole word where it does not part there
	key=${last%%=*} last=${last#*=} replaced=${1%"${last}"}
	[[ ${COMP_WORDS[COMP_CWORD]} == *=?* ]] || replaced=''
	words=$(_vastfs_options | sed -n "s/^$key=//p")
	case $words in
	*\|*)
		compopt +o filenames 2>/dev/null
		_vastfs_reply "$(tr '|' '\n' <<<"$words" | sed "s|^|$replaced|")" "$replaced$last"
		;;
	FILE) mapfile -t COMPREPLY < <(compgen -f -P "$replaced" -- "$last") ;;
	esac
}

_mount_vastfs() {
	local words word before i places=0
	_vastfs_words
	word=${words[-1]} before=${words[-2]}
	for ((i = 1; i < ${#words[@]} - 1; i++)); do
		case ${words[i]} in
		-[oLRDtN]) i=$((i + 1)) ;;
		-*) ;;
		*) places=$((places + 1)) ;;
		esac
	done
	if [[ $before == -o ]]; then
		_mount_vastfs_option "$word"
	elif [[ $word == -* ]]; then
		_vastfs_reply $'-f\n-d\n-v\n-o\n-L\n-R\n-D\n-s\n-h\n-V\n--wait' "$word"
	elif [[ $before == -[LRDtN] ]]; then
		:
	elif [[ $places == 0 ]]; then
		_vastfs_reply "$(_vastfs_ids)" "$word"
	elif [[ $places == 1 ]]; then
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
	fi
}

complete -o filenames -F _vastfs vastfs
complete -o filenames -F _mount_vastfs mount.vastfs
