/*
 * An instance in memory: a few files, and SFTP servers that work on them over fake streams, one for
 * each channel. The test decides when a server works, how short its answers are, and when it dies,
 * with what it has done unanswered.
 *
 * The test's thread is the core. fake_server_work must not be called from inside a callback of the
 * engine.
 */
#ifndef VASTFS_TESTS_FAKE_INSTANCE_H
#define VASTFS_TESTS_FAKE_INSTANCE_H

#include "tests/fake/fake_stream.h"

#define FAKE_FILES 16
#define FAKE_HANDLES 64

struct fake_file {
	char path[64]; /* "": unlinked */
	uint8_t *data;
	size_t len;
	uint32_t mode, uid, gid, mtime;
	unsigned fsyncs;
};

struct fake_instance {
	struct fake_file files[FAKE_FILES];
	unsigned n_files;
	uint32_t clock;	      /* the mtime that a write sets */
	uint32_t max_data;    /* of a READ's answer; 0: as asked */
	uint64_t lies_eof;    /* reads from here on say EOF, though the file goes on; 0: no */
	bool old_ends;	      /* a READ's end of file is where it was at the OPEN */
	bool no_lstat;	      /* LSTAT fails */
	uint32_t write_fails; /* the status of every WRITE, if not 0 */
	uint32_t open_fails;  /* the status of every OPEN, if not 0 */
	unsigned fstats_fail; /* so many FSTATs to come fail */
	uint32_t copy_fails;  /* the status of every copy-data, if not 0 */
	bool copy_lies;	      /* copy-data says OK and copies nothing */
	bool numbered;	      /* handles are named as OpenSSH does */
	unsigned handles;     /* open on all servers */
	unsigned opens;	      /* OPENs that worked */
	uint32_t open_flags;  /* of the last one */
	char order[64];	      /* what FSETSTATs set: 'u' 'p' 's' 't' */
};

void fake_instance_init(struct fake_instance *instance);
void fake_instance_fini(struct fake_instance *instance);
/* A regular file with that content (copied; NULL: zeros). */
struct fake_file *fake_file_add(
    struct fake_instance *instance, const char *path, const void *data, size_t len);
struct fake_file *fake_file_find(struct fake_instance *instance, const char *path);
/* It loses its name; handles on it stay. */
void fake_file_unlink(struct fake_file *file);

struct fake_server {
	struct fake_stream stream;
	struct fake_instance *instance;
	struct {
		struct fake_file *file; /* NULL: free */
		uint32_t flags;
		unsigned serial;
		size_t len; /* of the file, at the OPEN */
	} handles[FAKE_HANDLES];
	unsigned serials;
	unsigned ever, freed[FAKE_HANDLES], n_freed; /* of numbered ones */
	unsigned reads, writes, worked;		     /* requests done */
	bool greeted, fsync, copy_data;
};

void fake_server_init(struct fake_server *server, struct fake_instance *instance);
/* Does up to max requests, in turn; answered says whether the answers come through. Returns how
 * many. */
unsigned fake_server_work(struct fake_server *server, unsigned max, bool answered);
/* The connection breaks: its handles are closed. */
void fake_server_die(struct fake_server *server);
void fake_server_fini(struct fake_server *server);

#endif
