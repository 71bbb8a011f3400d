#!/bin/sh
# Run once by PostgreSQL's image, on an empty volume: the tracking store and the prediction log
# each get a database and a role that owns it and nothing else.
set -eu
for owner in mlflow predictions; do
  case $owner in
  mlflow) password=$MLFLOW_PASSWORD ;;
  predictions) password=$PREDICTIONS_PASSWORD ;;
  esac
  psql -v ON_ERROR_STOP=1 -U postgres -d postgres -v owner="$owner" -v password="$password" <<'SQL'
CREATE ROLE :"owner" LOGIN PASSWORD :'password';
CREATE DATABASE :"owner" OWNER :"owner";
REVOKE CONNECT ON DATABASE :"owner" FROM PUBLIC;
SQL
done
