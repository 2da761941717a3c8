/*
 * How much a stripe may have in flight to write: what the link takes, and little more.
 *
 * What arrives faster than sftp-server writes it waits in sshd, and sshd moves all that waits in
 * its buffer with each packet that comes: with two megabytes in each of a few channels that was
 * half of all that both ends computed. And what waits in a young connection's TCP window can't go
 * another way any more. So a window begins small and grows with each answer, as long as answers
 * take little longer than the round trip; when they do it shrinks, and grows slowly from then on.
 */
#include "transport/rfile_internal.h"

/* Answers may take a round trip, and this for what works there. */
#define QUEUE_US 8000
/* Farther away what is sent in one go takes its time on the link, which looks the same, and all
 * that sshd lets in is not too much. */
#define FAR_US 80000
#define SLOW 8

void rfile_window_written(struct rfile_handle *handle, uint32_t len)
{
	const struct sftp_rtt *rtt = sftp_rtt(rfile_handle_sftp(handle));
	uint32_t least = sftp_rtt_least(rtt);

	if (!least || least > FAR_US || rtt->data <= least + QUEUE_US) {
		handle->window += handle->braked ? len / SLOW : len;
		if (handle->window > 2 * RFILE_STRIPE_WRITE)
			handle->window = 2 * RFILE_STRIPE_WRITE;
		return;
	}
	handle->braked = true;
	handle->window -= len / SLOW;
	if (handle->window < RFILE_STRIPE_LEAST)
		handle->window = RFILE_STRIPE_LEAST;
}
