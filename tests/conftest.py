"""What holds for all tests."""

import signal

# A shell that runs the tests in the background (`make test &`) lets them ignore Ctrl-C, and with them all that they
# start: tests that interrupt a process would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
