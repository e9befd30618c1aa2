package scaffold

import "testing"

func TestExpand(t *testing.T) {
	names := map[string]string{"Name": "disks"}
	flags := map[string]bool{"Go": true, "SDK": false}
	for _, test := range []struct{ text, want string }{
		{"", ""},
		{"a {{.Name}} b", "a disks b"},
		{"{{if .Go}}x{{else}}y{{end}}{{if not .Go}}x{{else}}y{{end}}", "xy"},
		{"a\n{{- if .SDK}}\nb{{if .Go}}c{{end}}\n{{- else}}\nd\n{{- end}}\n", "a\nd\n"},
		{"a {{if .Go -}}  \n b{{end}}", "a b"},
	} {
		if got, err := expand(test.text, names, flags); err != nil || got != test.want {
			t.Errorf("%q becomes %q, %v, want %q", test.text, got, err, test.want)
		}
	}
	for _, bad := range []string{"{{.Name", "{{.Nome}}", "{{if .Go}}", "{{if .C}}{{end}}", "{{end}}", "{{else}}"} {
		if got, err := expand(bad, names, flags); err == nil {
			t.Errorf("%q becomes %q without an error", bad, got)
		}
	}
}
