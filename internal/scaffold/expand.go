package scaffold

import (
	"fmt"
	"strings"
)

// expand fills in a template, in the notation of text/template but for no more
// than {{.Name}}, {{if .Flag}}, {{if not .Flag}}, {{else}}, {{end}} and the dash
// that trims space. text/template itself would keep every exported method of
// the whole program alive, which makes the agent two megabytes larger.
func expand(text string, names map[string]string, flags map[string]bool) (string, error) {
	var out strings.Builder
	var shown []bool // of the ifs around
	emit := func(s string) {
		for _, ok := range shown {
			if !ok {
				return
			}
		}
		out.WriteString(s)
	}
	trim := false
	for {
		before, rest, found := strings.Cut(text, "{{")
		if trim {
			before = strings.TrimLeft(before, " \t\r\n")
		}
		if !found {
			emit(before)
			break
		}
		action, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return "", fmt.Errorf("template: no }} behind %.20q", rest)
		}
		if strings.HasPrefix(action, "- ") {
			before = strings.TrimRight(before, " \t\r\n")
		}
		emit(before)
		trim, text = strings.HasSuffix(action, " -"), after
		action = strings.TrimSuffix(strings.TrimPrefix(action, "- "), " -")
		word, operand, _ := strings.Cut(action, " ")
		switch {
		case word == "if":
			flag, isNot := strings.CutPrefix(operand, "not ")
			on, known := flags[strings.TrimPrefix(flag, ".")]
			if !known {
				return "", fmt.Errorf("template: no flag in {{%s}}", action)
			}
			shown = append(shown, on != isNot)
		case word == "else" && len(shown) > 0:
			shown[len(shown)-1] = !shown[len(shown)-1]
		case word == "end" && len(shown) > 0:
			shown = shown[:len(shown)-1]
		default:
			value, known := names[strings.TrimPrefix(action, ".")]
			if !known {
				return "", fmt.Errorf("template: what is {{%s}}?", action)
			}
			emit(value)
		}
	}
	if len(shown) > 0 {
		return "", fmt.Errorf("template: %d ifs without an end", len(shown))
	}
	return out.String(), nil
}
