"""What is done for a parcel. Some of it swallows what goes wrong, as services do."""

import json
import urllib.request


class NoSuchAddress(Exception):
    """A parcel that can't be delivered."""


def deliver(parcel):
    """Books a parcel with the carrier; this is the job, and its failure is the job's."""
    if not parcel.get("address"):
        raise NoSuchAddress(f"parcel {parcel['number']} has no address")
    print_label(parcel)
    notify(parcel)
    return f"label-{parcel['number']}"


def print_label(parcel):
    """Sends the label to the printer."""
    try:
        post(parcel["printer"], {"number": parcel["number"]})
    except Exception:
        pass


def notify(parcel):
    """Tells the customers that their parcels are on the way; returns how many were told."""
    told = 0
    for customer in parcel.get("customers", ()):
        try:
            post(customer["url"], {"parcel": parcel["number"]})
            told += 1
        except Exception:
            continue
    return told


def read_tariff(path):
    """The prices by weight; none where the file can't be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except:
        return {}


def post(url, body):
    """Posts JSON."""
    with urllib.request.urlopen(url, data=json.dumps(body).encode(), timeout=5) as reply:
        return reply.status
