#include "transport/rfile_internal.h"
#include <stdlib.h>
#include <string.h>

struct packet *rfile_early_read(struct rfile_early *early, const struct sftp *sftp)
{
	free(early->data); /* of a try before this one */
	early->data = NULL;
	if (!early->len || early->len > sftp_features(sftp)->max_read ||
	    !sftp_foresee(sftp, &early->foreseen))
		return NULL;
	return sftp_msg_read(&early->foreseen, 0, early->len);
}

void rfile_early_came(struct rfile_early *early, const struct sftp_reply *reply)
{
	if (!reply->err && reply->data.len == early->len)
		early->data = malloc(early->len);
	if (early->data)
		memcpy(early->data, reply->data.data, early->len);
}

void rfile_early_give(struct rfile_early *early, const struct sftp_handle *name, struct rfile *file)
{
	if (!early->data || !sftp_handle_same(name, &early->foreseen))
		return;
	file->early = *early;
	early->data = NULL;
}

void rfile_want_early(struct rfile *file, uint32_t early)
{
	file->early.len = early;
}

uint8_t *rfile_take_early(struct rfile *file, uint32_t *len)
{
	uint8_t *data = file->early.data;

	file->early.data = NULL;
	*len = file->early.len;
	return data;
}
