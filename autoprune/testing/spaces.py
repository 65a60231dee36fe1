"""Spaces that are searched in seconds."""

from __future__ import annotations

TINY = """\
name: tiny
task: {data: digits, model: mlp}
train: {epochs: 3, lr: 0.1}
targets: {low: 0.85, high: 0.93, always: [0.9]}
fidelity: {epochs: [1, 2]}
method:
  magnitude: {allocation: [global, erk]}
  imp: {rounds: [2]}
  dropnet: {rounds: [1]}
lr:
  linear: {peak: {low: 0.03, high: 0.3, log: true}}
"""
"""Three methods on digits, one of them of units; named ``tiny``."""
