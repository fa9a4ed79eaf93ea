"""Breaks the running system on purpose and judges, from outside, whether it kept its promises."""
