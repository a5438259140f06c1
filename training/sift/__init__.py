"""SIFT-Masks (arXiv 2504.04626): tenants' changes of one base, merged so that each can be taken out exactly."""
