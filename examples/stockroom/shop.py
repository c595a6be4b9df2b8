"""Tells the web shop what is in stock."""

import json
import urllib.request


def publish(url, store, skus):
    """Sends the stock of these articles; returns how many were sent."""
    sent = 0
    for sku in skus:
        body = json.dumps({"sku": sku, "count": store.count(sku)}).encode()
        try:
            with urllib.request.urlopen(url, data=body, timeout=10) as reply:
                reply.read()
            sent += 1
        except Exception:
            pass
    return sent


def settings(path):
    """The shop's settings; none at all where the file is broken."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except Exception:
        return {}
    finally:
        print("settings read")
