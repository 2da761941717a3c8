#!/bin/bash
# A Jupyter server on the instance, used by a browser through a forward of the profile: its pages, what they fetch, and a
# kernel's web socket.
. "$(dirname "$0")/../lib.sh"
browser=$(command -v chromium || command -v chromium-headless-shell)
if [[ $MOUNT_WITH != vastfs || -z $browser ]] || ! command -v jupyter-notebook >/dev/null; then
	skip "Jupyter in a browser" "needs jupyter-notebook and chromium"
	finish
fi
setup
LOCAL=$(free_port) THERE=$(free_port)
write_profile "forward = $LOCAL:127.0.0.1:$THERE"

server() {
	mkdir "$W/jupyter"
	# not behind an "&&", or $! is a shell of its own that ends with this check
	(cd "$REMOTE"
		HOME=$W/jupyter XDG_RUNTIME_DIR=$W/jupyter setsid jupyter-notebook --no-browser --allow-root \
			--ip 127.0.0.1 --port "$THERE" --NotebookApp.token=sesame >"$W/jupyter.log" 2>&1 </dev/null &
		started jupyter $!)
	wait_for 60 tcp_open "$THERE" || die "$(cat "$W/jupyter.log")"
	mount_fs
}
# Until each of the expressions is true in the page.
page() { # PATH EXPRESSION…
	local path=$1
	shift
	rm -rf "$W/browser"
	HOME=$W/jupyter "$PYTHON" "$TESTS/integ/browser.py" "$browser" "$W/browser" \
		"http://localhost:$LOCAL/$path?token=sesame" "$@"
}
files() { # what was saved here is in the browser's list
	echo "print(6 * 7)" >"$MNT/from-here.py"
	synced
	page tree 'document.title.startsWith("Home Page")' 'document.body.innerText.includes("from-here.py")'
}
kernel() { # a notebook made here is run there, by a web socket; what it says is in the page, what it makes is here
	cat >"$MNT/made.ipynb" <<-'END'
		{"cells": [{"cell_type": "code", "execution_count": null, "id": "a", "metadata": {}, "outputs": [],
		"source": ["open('by-kernel', 'w').write('from the kernel')\n", "print(6 * 7, 'is the answer')"]}],
		"metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
		"nbformat": 4, "nbformat_minor": 5}
	END
	synced
	page notebooks/made.ipynb 'window.Jupyter && Jupyter.notebook && Jupyter.notebook.kernel &&
		Jupyter.notebook.kernel.is_connected()' \
		'Jupyter.notebook.execute_all_cells() || true' 'document.body.innerText.includes("42 is the answer")' ||
		die "$(tail -n 20 "$W/jupyter.log")"
	seen "$MNT/by-kernel"
	eq "$(<"$MNT/by-kernel")" "from the kernel"
}
check "a server there, and a mount with a forward" server
CHECK_TIMEOUT=$((CHECK_TIMEOUT * 3))
check "a browser shows what was saved here" files
check "a notebook and its kernel" kernel
check "unmounts" umount_fs
finish
