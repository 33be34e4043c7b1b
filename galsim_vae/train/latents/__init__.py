"""Learners on latents: classes, odd ones, other surveys."""

__all__ = []
