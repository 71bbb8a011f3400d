#!/bin/sh
# Create a database and its owner for the tracking store and for the prediction log. The PostgreSQL
# image runs this script once, on an empty volume.
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
