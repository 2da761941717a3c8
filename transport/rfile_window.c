/*
 * How much a stripe may have in flight to write: what the link takes, and little more.
 *
 * What arrives faster than sftp-server writes it waits in sshd, and sshd moves all that waits in
 * its buffer with each packet that comes: with two megabytes in each of a few channels that was
 * half of all that both ends computed. And what waits in a young connection's TCP window can't go
 * another way any more. So a window begins small and doubles with each round trip, until answers
 * take longer than that. From then on a round trip of answers brings it to what would have been
 * under way without waiting, and QUEUE_BYTES that wait, so that it grows again when less waits.
 *
 * The answers to the first window do not count: both ends make their buffers then, and they took
 * 100 to 200 ms of 50 while next to nothing waited.
 */
#include "transport/rfile_internal.h"

/* Answers may take a round trip, and this for what works there. */
#define WORK_US 4000
#define QUEUE_BYTES (128 * 1024)
/* A window that grows freely is too large when they take a round trip and this. */
#define SLOW_US 8000
/* Farther away what is sent in one go takes its time on the link, which looks the same, and all
 * that sshd lets in is not too much, nor too soon with the first answer. */
#define FAR_US 80000

void rfile_window_written(struct rfile_handle *handle, uint32_t len)
{
	const struct sftp_rtt *rtt = sftp_rtt(rfile_handle_sftp(handle));
	uint32_t least = sftp_rtt_least(rtt);
	bool tells = least && least <= FAR_US;
	int64_t window = (int64_t)handle->window, fits;

	if (handle->opening)
		handle->opening -= len < handle->opening ? len : handle->opening;
	else
		handle->braked |= tells && rtt->data > least + SLOW_US;
	if (least > FAR_US && window < (int64_t)RFILE_STRIPE_WRITE) {
		window = RFILE_STRIPE_WRITE;
	} else if (!tells || !handle->braked) {
		window += len;
	} else {
		fits = window * (least + WORK_US) / rtt->data + QUEUE_BYTES;
		window += (fits - window) * len / window;
	}
	if (window > 2 * (int64_t)RFILE_STRIPE_WRITE)
		window = 2 * (int64_t)RFILE_STRIPE_WRITE;
	if (window < (int64_t)RFILE_STRIPE_LEAST)
		window = RFILE_STRIPE_LEAST;
	handle->window = (size_t)window;
}

bool rfile_window_wide(const struct sftp *sftp)
{
	const struct sftp_rtt *rtt = sftp_rtt(sftp);

	return rtt->data && rtt->data <= sftp_rtt_least(rtt) + SLOW_US;
}
