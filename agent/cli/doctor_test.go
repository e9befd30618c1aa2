package cli

import (
	"slices"
	"testing"

	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/internal/wire"
)

func TestDoctorLeavesToTheProgramWhatItTells(t *testing.T) {
	st := &localapi.Status{
		Sources:  []wire.SourceStatus{{Name: "vcenter-lab", State: "degraded"}, {Name: "dns", State: "failed"}, {Name: "os", State: "ok"}},
		Problems: []string{"tunnel: down", "vcenter-lab: degraded: it does not answer", "dns: failed: no zone"},
	}
	if got := (&command{}).untold(st); !slices.Equal(got, st.Problems) {
		t.Errorf("of a program without checks: %q", got)
	}
	c := &command{program: Program{Tells: func(source string, troubled []string) bool {
		return source == "vcenter-lab" && slices.Equal(troubled, []string{"vcenter-lab", "dns"})
	}}}
	if got := c.untold(st); !slices.Equal(got, []string{"tunnel: down", "dns: failed: no zone"}) {
		t.Errorf("left are %q", got)
	}
}
