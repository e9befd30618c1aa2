package protocol

import (
	"strconv"
	"strings"
)

// In returns what the column's path leads to in a spec that was decoded from
// JSON into an any, and whether there is anything.
func (c Column) In(spec any) (value any, ok bool) {
	for step := range strings.SplitSeq(c.Path, ".") {
		switch at := spec.(type) {
		case map[string]any:
			if spec, ok = at[step]; !ok {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(at) {
				return nil, false
			}
			spec = at[i]
		default:
			return nil, false
		}
	}
	return spec, true
}
