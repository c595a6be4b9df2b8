"""A shop that mails receipts, and keeps those that could not be sent."""

import sys

from unhush.runtime import DeadLetterQueue

dlq = DeadLetterQueue()  # $UNHUSH_DATABASE_URL, else the file unhush.db

ADDRESSES = {"ann": "ann@example.com"}


@dlq.dead_letter(queue="receipts", job_id=lambda customer, order: order)
def send_receipt(customer, order):
    print(f"receipt {order} sent to {ADDRESSES[customer]}")


if __name__ == "__main__":
    send_receipt(sys.argv[1], order=sys.argv[2])
