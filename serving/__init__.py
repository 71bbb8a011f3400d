"""Everything a served champion needs, and nothing else.

Importable without `steps` and without any training library: the registered model ships
this package, and services and batch jobs are thin callers of it.
"""
