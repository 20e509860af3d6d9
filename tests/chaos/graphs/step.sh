#!/bin/sh
# Counts its place in the series on top of what the tile before left, tells the ledger, and leaves a raster that ends with that count.
for argument; do
    name=${argument%%=*}
    value=${argument#*=}
    case $name in
    --ledger) ledger=$value ;;
    --template) template=$value ;;
    --run) run=${value##*/} ;;
    --before) before=$value ;;
    --state) state=$value ;;
    --layer) layer=$value ;;
    esac
done
failed() {
    echo "TEMPORARY ERROR: $1"
    exit 1
}
set -- */product.txt
[ -f "$1" ] || { echo "FATAL ERROR: the product is not here"; exit 1; }
count=0
if [ "$before" != "$state" ]; then
    read -r count <"$before" || { echo "FATAL ERROR: the tile before left no count"; exit 1; }
fi
count=$((count + 1))
echo "$count" >"$state" || failed "no room for the count"
cat "$template" >"$layer" || failed "no room for the layer"
echo "$layer $count" >>"$layer" || failed "no room for the layer"
echo "${layer%_layer.tif} $run $count" >>"$ledger"
