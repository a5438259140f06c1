"""Weights of many tenants over one base: a merged model of which each can be taken out, or adapters side by side.

Rule: numpy only. What trains and what serves read the same folders with the same code.
"""
