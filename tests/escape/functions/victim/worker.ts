postMessage([true, "code of the neighbour's"]);
