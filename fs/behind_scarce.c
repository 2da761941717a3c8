/*
 * An instance that has no handles left. Files that are created behind their callers are open there
 * until their data has followed, many at a time, which a server of few handles refuses with the
 * same words as everything it has no words for. Those creates are put off until others are closed;
 * then creates wait for the instance again, so that further errors come where they belong.
 */
#include "fs/behind_impl.h"
#include <errno.h>

#define PATIENCE_MS 10000
#define SCARCE_MS 30000 /* for so long after a refusal nothing is created behind its caller */
#define SPARE 16	/* handles, for what is not counted: stripes, look-ups, folders */
#define AT_ONCE 2	/* put off creates, tried for each change that ends */

static bool may_be_scarcity(int err)
{
	return err == -EIO || err == -EMFILE || err == -ENFILE;
}

bool behind_put_off(struct behind *behind, int err)
{
	struct fs *fs = behind->fs;
	uint64_t now = fs_now_ms(fs);

	if (!may_be_scarcity(err))
		return false;
	if (!behind->refused_ms)
		behind->refused_ms = now;
	if (now - behind->refused_ms >= PATIENCE_MS)
		return false;
	fs->scarce_ms = now;
	behind->is_put_off = true;
	TAILQ_INSERT_TAIL(&fs->put_off, behind, put_off);
	return true;
}

void behind_forget_put_off(struct behind *behind)
{
	if (behind->is_put_off)
		TAILQ_REMOVE(&behind->fs->put_off, behind, put_off);
	behind->is_put_off = false;
}

void behind_take_up(struct fs *fs, unsigned most)
{
	struct behind *behind;

	while (most-- && (behind = TAILQ_FIRST(&fs->put_off))) {
		behind_forget_put_off(behind);
		behind_send_again(behind);
	}
}

void behind_one_less(struct fs *fs)
{
	behind_take_up(fs, AT_ONCE);
}

bool behind_wait_for_handles(
    struct fs *fs, int err, bool *waited, void (*done)(void *arg, int err), void *arg)
{
	if (*waited || !may_be_scarcity(err) || !outbox_count(fs->outbox))
		return false;
	*waited = true;
	fs->scarce_ms = fs_now_ms(fs);
	return !outbox_wait(fs->outbox, OUTBOX_ALL, NULL, NULL, done, arg);
}

bool behind_has_handles(struct fs *fs)
{
	uint64_t most = remote_features(fs->remote)->max_handles;

	if (fs->scarce_ms && fs_now_ms(fs) - fs->scarce_ms < SCARCE_MS)
		return false;
	return !most || fs->open_files + outbox_count(fs->outbox) + SPARE < most;
}
