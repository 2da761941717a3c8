# shellcheck shell=bash
# Completion of vastfs(1) and mount.vastfs(8) for bash.

_vastfs_ids() { vastfs list --ids 2>/dev/null; }
_vastfs_mounts() { vastfs status --json 2>/dev/null | sed -n 's/^ *"mountpoint": "\(.*\)",\{0,1\}$/\1/p'; }
_vastfs_options() { mount.vastfs -h 2>/dev/null | sed -n 's/^    \([a-z_]*\)\(=[^ ]*\)\{0,1\} .*/\1\2/p' | sed 's/=.*/=/'; }
_vastfs_commands() { vastfs --help 2>/dev/null | sed -n 's/^.* vastfs \([a-z]*\) .*/\1/p'; }

# Words, one a line, that begin with $2, into COMPREPLY.
_vastfs_reply() {
	local IFS=$'\n'
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_vastfs() {
	local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]:-}
	if [[ $COMP_CWORD == 1 ]]; then
		_vastfs_reply "$(_vastfs_commands)" "$word"
		return
	fi
	case $command in
	show | edit | remove | doctor | add) _vastfs_reply "$(_vastfs_ids)" "$word" ;;
	status)
		if [[ $word == -* ]]; then
			_vastfs_reply $'--json\n--watch' "$word"
		else
			_vastfs_reply "$(_vastfs_mounts)"$'\n'"$(_vastfs_ids)" "$word"
		fi
		;;
	sync | umount | ssh) _vastfs_reply "$(_vastfs_mounts)"$'\n'"$(_vastfs_ids)" "$word" ;;
	forward)
		if [[ $COMP_CWORD == 2 ]]; then
			_vastfs_reply "$(_vastfs_mounts)"$'\n'"$(_vastfs_ids)" "$word"
		elif [[ $COMP_CWORD == 3 ]]; then
			_vastfs_reply $'list\nadd\nremove' "$word"
		fi
		;;
	key) _vastfs_reply new "$word" ;;
	run) mapfile -t COMPREPLY < <(compgen -c -- "$word"; compgen -f -- "$word") ;;
	esac
}

_mount_vastfs() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	if [[ $before == -o ]]; then
		local done=''
		[[ $word != *,* ]] || done=${word%,*},
		_vastfs_reply "$(_vastfs_options | sed "s/^/$done/")" "$word"
		compopt -o nospace
	elif [[ $word == -* ]]; then
		_vastfs_reply $'-f\n-d\n-v\n-o\n-L\n-R\n-D\n-s\n-h\n-V\n--wait' "$word"
	elif [[ $COMP_CWORD == 1 || $before == -* ]]; then
		_vastfs_reply "$(_vastfs_ids)" "$word"
	else
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
	fi
}

complete -o filenames -F _vastfs vastfs
complete -o filenames -F _mount_vastfs mount.vastfs
