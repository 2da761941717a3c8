# vastfs: mount a rented GPU instance over SFTP.
#
#   make                  build/mount.vastfs and build/vastfs, optimised
#   make SANITIZE=address,undefined    the same under build/address,undefined/
#   make WERROR=1         warnings are errors (CI)
#   make unit             build and run the unit tests
#   make bench            the table of timings beside sshfs, rclone, scp and tar (BENCH=--quick)
#   make install / uninstall           DESTDIR= PREFIX=
#
# Every .c file in a folder belongs to the library that both programs and all
# tests link; the programs' main files are in fs/cmd, one main_*.c each.

PREFIX ?= /usr/local
DESTDIR ?=
CC ?= gcc
PKG_CONFIG ?= pkg-config
VERSION := 0.1.0

SANITIZE ?=
ifeq ($(SANITIZE),)
B := build
else
B := build/$(SANITIZE)
SANFLAGS := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-optimize-sibling-calls
# half the time to build, and as good a report; what flows where the compiler sees at -O2 only
CFLAGS ?= -O1 -g
SANFLAGS += -Wno-maybe-uninitialized -Wno-format-truncation
endif

PKGS := fuse3 libssh2 libcrypto inih libuv jansson libxxhash sqlite3 libcurl libargon2
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS))
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PKGS))

CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter
ifeq ($(WERROR),1)
WARN += -Werror
endif
ALL_CFLAGS := -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DVASTFS_VERSION='"$(VERSION)"' \
	-I. $(WARN) $(PKG_CFLAGS) -pthread -fstack-protector-strong $(SANFLAGS) $(CFLAGS) $(CPPFLAGS)
ALL_LDFLAGS := -pthread $(SANFLAGS) $(LDFLAGS)

LIB_SRC := $(wildcard conf/*.c transport/*.c cache/*.c fs/*.c)
LIB_SRC += $(filter-out fs/cmd/main_%.c,$(wildcard fs/cmd/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$B/obj/%.o)
PROGRAMS := $B/mount.vastfs $B/vastfs

UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT := $(UNIT_SRC:tests/unit/%.c=$B/unit/%)
FAKE_OBJ := $(patsubst %.c,$B/obj/%.o,$(filter-out %/main_%.c,$(wildcard tests/fake/*.c)))
# tests/tools/NAME.c is a program, NAME_*.c are its other parts
TOOLS_SRC := $(foreach f,$(wildcard tests/tools/*.c),$(if $(findstring _,$(notdir $f)),,$f))
TOOLS := $(TOOLS_SRC:tests/tools/%.c=$B/tools/%)

.PHONY: all unit tools fuzz bench install uninstall clean
.SECONDARY:

all: $(PROGRAMS)

$B/libvastfs.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$B/mount.vastfs: $B/obj/fs/cmd/main_mount.o $B/libvastfs.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

$B/vastfs: $B/obj/fs/cmd/main_vastfs.o $B/libvastfs.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

$B/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# which takes them in as they are
$B/obj/transport/watcher.o: transport/watcher.py transport/watcher.sh

# --- tests ---------------------------------------------------------------

$B/unit/%: $B/obj/tests/unit/%.o $(FAKE_OBJ) $B/libvastfs.a
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka

$B/tools/delayproxy: $B/obj/tests/tools/delayproxy_link.o

# what ssh-keygen and ssh-agent load as the driver of a security key
$B/tools/sk_provider.so: tests/tools/sk_provider.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIC -shared $(ALL_LDFLAGS) -o $@ $< $(shell $(PKG_CONFIG) --libs libcrypto)

$B/tools/%: $B/obj/tests/tools/%.o
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

unit: $(UNIT)
	@tests/unit/run $(UNIT)

unit-build: $(UNIT)

tools: $(TOOLS) $B/tools/sk_provider.so

fuzz:
	$(MAKE) -f tests/fuzz/Makefile

bench: all tools
	tests/bench/run $(BENCH)

# --- install -------------------------------------------------------------

# Users have no sbin in their PATH. mount(8) looks for helpers in /sbin only, whatever PREFIX is; these may be one folder.
# Where zsh looks: Debian's folder for packages, or the one for what is installed by hand.
ZSH_FOLDER := $(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)
install: all
	install -D -m 755 $B/mount.vastfs $(DESTDIR)$(PREFIX)/bin/mount.vastfs
	install -D -m 755 $B/vastfs $(DESTDIR)$(PREFIX)/bin/vastfs
	install -d $(DESTDIR)/sbin $(DESTDIR)$(PREFIX)/sbin
	[ $(DESTDIR)$(PREFIX)/bin -ef $(DESTDIR)$(PREFIX)/sbin ] || \
		ln -sfr $(DESTDIR)$(PREFIX)/bin/mount.vastfs $(DESTDIR)$(PREFIX)/sbin/mount.vastfs
	[ $(DESTDIR)/sbin -ef $(DESTDIR)$(PREFIX)/sbin ] || \
		ln -sfr $(DESTDIR)$(PREFIX)/sbin/mount.vastfs $(DESTDIR)/sbin/mount.vastfs
	install -D -m 644 doc/mount.vastfs.8 $(DESTDIR)$(PREFIX)/share/man/man8/mount.vastfs.8
	install -D -m 644 doc/vastfs.1 $(DESTDIR)$(PREFIX)/share/man/man1/vastfs.1
	install -D -m 644 doc/vastfs.ini.5 $(DESTDIR)$(PREFIX)/share/man/man5/vastfs.ini.5
	install -D -m 644 scripts/completions/vastfs.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/vastfs
	ln -sf vastfs $(DESTDIR)$(PREFIX)/share/bash-completion/completions/mount.vastfs
	install -D -m 644 scripts/completions/_vastfs $(DESTDIR)$(PREFIX)/share/zsh/$(ZSH_FOLDER)/_vastfs
	install -D -m 644 scripts/completions/vastfs.fish \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/vastfs.fish
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/user
	sed 's|@SBINDIR@|$(PREFIX)/sbin|; s|@BINDIR@|$(PREFIX)/bin|' 'scripts/systemd/vastfs@.service' \
		>'$(DESTDIR)$(PREFIX)/lib/systemd/user/vastfs@.service'
	chmod 644 '$(DESTDIR)$(PREFIX)/lib/systemd/user/vastfs@.service'

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/mount.vastfs $(DESTDIR)$(PREFIX)/bin/mount.vastfs $(DESTDIR)$(PREFIX)/bin/vastfs \
		$(DESTDIR)/sbin/mount.vastfs \
		$(DESTDIR)$(PREFIX)/share/man/man8/mount.vastfs.8 \
		$(DESTDIR)$(PREFIX)/share/man/man1/vastfs.1 \
		$(DESTDIR)$(PREFIX)/share/man/man5/vastfs.ini.5 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/vastfs \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/mount.vastfs \
		$(DESTDIR)$(PREFIX)/share/zsh/$(ZSH_FOLDER)/_vastfs \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/vastfs.fish \
		'$(DESTDIR)$(PREFIX)/lib/systemd/user/vastfs@.service'

clean:
	rm -rf build

-include $(shell find $B/obj -name '*.d' 2>/dev/null)
