"""Rows read and written as the provider counts them: a statement's bytecode is walked, and nothing is changed."""
