# Completion of vastfs(1) and mount.vastfs(8) for fish.

function __vastfs_mounts
	vastfs status --json 2>/dev/null | sed -n 's/^ *"mountpoint": "\(.*\)",\{0,1\}$/\1/p'
end
function __vastfs_commands
	vastfs --help 2>/dev/null | sed -n 's/^.* vastfs \([a-z]*\) .*/\1/p'
end
function __vastfs_options
	mount.vastfs -h 2>/dev/null | sed -n 's/^    \([a-z_]*\)\(=[^ ]*\)\{0,1\} .*/\1\2/p' | sed 's/=.*/=/'
end

complete -c vastfs -f
complete -c vastfs -n __fish_use_subcommand -a '(__vastfs_commands)'
complete -c vastfs -n '__fish_seen_subcommand_from show edit remove doctor add sync umount ssh status forward spool cache' -a '(vastfs list --ids 2>/dev/null)'
complete -c vastfs -n '__fish_seen_subcommand_from sync umount ssh status forward spool cache' -a '(__vastfs_mounts)'
complete -c vastfs -n '__fish_seen_subcommand_from status' -l json -d 'for programs'
complete -c vastfs -n '__fish_seen_subcommand_from status' -l watch -d 'live'
complete -c vastfs -n '__fish_seen_subcommand_from forward' -a 'list add remove --save'
complete -c vastfs -n '__fish_seen_subcommand_from spool' -a 'list retry discard'
complete -c vastfs -n '__fish_seen_subcommand_from cache' -a 'show clear pin unpin' -F
complete -c vastfs -n '__fish_seen_subcommand_from sync' -l progress
complete -c vastfs -n '__fish_seen_subcommand_from key' -a new
complete -c vastfs -n '__fish_seen_subcommand_from key' -l passphrase
complete -c vastfs -n '__fish_seen_subcommand_from run' -F
complete -c mount.vastfs -a '(vastfs list --ids 2>/dev/null)'
complete -c mount.vastfs -s o -x -a '(__vastfs_options)'
complete -c mount.vastfs -l wait -d 'wait for a starting instance'
